<!doctype html>
<title>Hi</title>
<p>Hello, <?= "me" ?></p>
