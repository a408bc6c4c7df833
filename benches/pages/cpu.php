<?php
function fib($n) {
    return $n < 2 ? $n : fib($n - 1) + fib($n - 2);
}

$numbers = [];
$x = 42;
for ($i = 0; $i < 200; $i++) {
    $x = $x * 16807 % 2147483647;
    $numbers[] = $x;
}
sort($numbers);
?>
<p><?= fib(22) ?></p>
<p><?= implode(" ", $numbers) ?></p>
