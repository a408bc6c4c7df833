<?php session_start(['read_and_close' => true]); ?>
Hello, <?= htmlspecialchars($_SESSION['name']) ?>!
