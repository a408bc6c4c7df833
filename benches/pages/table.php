<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Orders of the day</title>
<style>
table { border-collapse: collapse; font-family: sans-serif; }
th, td { border: 1px solid silver; padding: 4px 8px; }
td { text-align: right; }
</style>
</head>
<body>
<h1>Orders of the day</h1>
<table>
<tr><th>Number</th><th>Goods</th><th>Price</th><th>Weekday</th></tr>
<?php
$goods = ["Apples and pears", "Bread and butter", "Coffee with a biscuit", "Salt and pepper"];
for ($i = 1; $i <= 1000; $i++) {
?>
<tr><td><?= $i ?></td><td><?= $goods[$i % 4] ?></td><td><?= $i * $i ?></td><td><?= $i % 7 ?></td></tr>
<?php } ?>
</table>
<p>1000 orders, kept in a table</p>
</body>
</html>
