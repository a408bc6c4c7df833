<?php
$bytes = 0;
for ($i = 1; $i <= 1000; $i++) $bytes += strlen(apcu_fetch("key" . $i % 100));
echo $bytes;
