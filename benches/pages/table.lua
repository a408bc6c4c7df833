local goods = { "Apples and pears", "Bread and butter", "Coffee with a biscuit", "Salt and pepper" }
local head = [==[
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Orders of the day</title>
<style>
table { border-collapse: collapse; font-family: sans-serif; }
th, td { border: 1px solid silver; padding: 4px 8px; }
td { text-align: right; }
</style>
</head>
<body>
<h1>Orders of the day</h1>
<table>
<tr><th>Number</th><th>Goods</th><th>Price</th><th>Weekday</th></tr>
]==]
local foot = [==[
</table>
<p>1000 orders, kept in a table</p>
</body>
</html>
]==]

function handle(r)
  r.content_type = "text/html"
  local out, n = { head }, 1
  for i = 1, 1000 do
    out[n + 1], out[n + 2], out[n + 3] = "<tr><td>", i, "</td><td>"
    out[n + 4], out[n + 5], out[n + 6] = goods[i % 4 + 1], "</td><td>", i * i
    out[n + 7], out[n + 8], out[n + 9] = "</td><td>", i % 7, "</td></tr>\n"
    n = n + 9
  end
  out[n + 1] = foot
  r:write(table.concat(out))
  return apache2.OK
end
