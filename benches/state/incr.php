<?php
for ($i = 1; $i <= 1000; $i++) apcu_inc("count" . $i % 100);
?>
100000
