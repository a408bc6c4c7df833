local function fib(n)
  if n < 2 then return n end
  return fib(n - 1) + fib(n - 2)
end

function handle(r)
  r.content_type = "text/html"
  local numbers, x = {}, 42
  for i = 1, 200 do
    x = x * 16807 % 2147483647
    numbers[i] = x
  end
  table.sort(numbers)
  r:write("<p>" .. fib(22) .. "</p>\n<p>" .. table.concat(numbers, " ") .. "</p>\n")
  return apache2.OK
end
