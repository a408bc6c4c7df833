<?php
$value = str_repeat("v", 100);
for ($i = 1; $i <= 1000; $i++) apcu_store("key" . $i % 100, $value);
?>
100000
