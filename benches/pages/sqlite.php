<?php
$orders = new PDO("sqlite:" . __DIR__ . "/orders.db", null, null, [PDO::ATTR_PERSISTENT => true]);
$customer = $_GET["customer"];
$found = $orders->prepare("SELECT id, goods, price FROM orders WHERE customer = ? ORDER BY id");
$found->execute([$customer]);
?>
<h1>Orders of customer <?= htmlspecialchars($customer) ?></h1>
<table>
<tr><th>Number</th><th>Goods</th><th>Price</th></tr>
<?php foreach ($found->fetchAll(PDO::FETCH_ASSOC) as $order) { ?>
<tr><td><?= $order["id"] ?></td><td><?= htmlspecialchars($order["goods"]) ?></td><td><?= $order["price"] ?></td></tr>
<?php } ?>
</table>
