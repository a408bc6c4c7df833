<ul>
<?php for ($i = 1; $i <= 20; $i++) { $name = "f$i>"; ?>
<li><?= htmlspecialchars($name) ?>: <?= htmlspecialchars($_POST[$name]) ?></li>
<?php } ?>
</ul>
