function handle(r)
  r.content_type = "text/html"
  local fields = r:parsebody()
  local out = { "<ul>\n" }
  for i = 1, 20 do
    local name = "f" .. i .. ">"
    out[i + 1] = "<li>" .. r:escape_html(name) .. ": " .. r:escape_html(fields[name]) .. "</li>\n"
  end
  out[22] = "</ul>\n"
  r:write(table.concat(out))
  return apache2.OK
end
