function handle(r)
  r.content_type = "text/html"
  r:write("<!doctype html>\n<title>Hi</title>\n<p>Hello, " .. "me" .. "</p>\n")
  return apache2.OK
end
