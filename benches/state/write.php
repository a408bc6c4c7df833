<?php
session_start();
$_SESSION['name'] ??= 'Ada';
$_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
?>
Hello, <?= htmlspecialchars($_SESSION['name']) ?>!
