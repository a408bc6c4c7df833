<ul>
<?php for ($i = 1; $i <= 20; $i++) { ?>
<li>f<?= $i ?>: <?= htmlspecialchars($_GET["f$i"]) ?></li>
<?php } ?>
</ul>
