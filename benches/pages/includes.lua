-- mod_lua has no include: a module of each part, kept by its states, is the fastest it offers.
local parts = {}
for i = 1, 20 do parts[i] = require("parts." .. i) end

function handle(r)
  r.content_type = "text/html"
  r:write("<h1>Parts</h1>\n")
  for i = 1, 20 do parts[i](r) end
  r:write("<p>That is all.</p>\n")
  return apache2.OK
end
