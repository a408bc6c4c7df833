<h1>Parts</h1>
<?php for ($i = 1; $i <= 20; $i++) include "parts/$i.php"; ?>
<p>That is all.</p>
