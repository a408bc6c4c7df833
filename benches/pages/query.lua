function handle(r)
  r.content_type = "text/html"
  local fields = r:parseargs()
  local out = { "<ul>\n" }
  for i = 1, 20 do out[i + 1] = "<li>f" .. i .. ": " .. r:escape_html(fields["f" .. i]) .. "</li>\n" end
  out[22] = "</ul>\n"
  r:write(table.concat(out))
  return apache2.OK
end
