-- Makes `require` and `package.loadlib` ask for the C API before they open a C library, and look where Debian and
-- Fedora put modules. `prepare` returns nothing, or the sentence that says why C modules cannot be loaded.

local prepare, architecture = ...
local package, error, type = package, error, type
if not package then
  return
end
local find, format, gmatch, gsub, match, sub =
  string.find, string.format, string.gmatch, string.gsub, string.match, string.sub
local version = match(_VERSION, "%d+%.%d+")

local function extended(path, templates)
  for _, template in ipairs(templates) do
    template = gsub(template, "VERSION", version)
    if not find(";" .. path .. ";", ";" .. template .. ";", 1, true) then
      path = path .. ";" .. template
    end
  end
  return path
end

package.path = extended(package.path, {
  "/usr/local/share/lua/VERSION/?.lua",
  "/usr/local/share/lua/VERSION/?/init.lua",
  "/usr/share/lua/VERSION/?.lua",
  "/usr/share/lua/VERSION/?/init.lua",
})
package.cpath = extended(package.cpath, {
  "/usr/local/lib/lua/VERSION/?.so",
  "/usr/lib/" .. architecture .. "-linux-gnu/lua/VERSION/?.so",
  "/usr/lib64/lua/VERSION/?.so",
  "/usr/lib/lua/VERSION/?.so",
})

local searchpath = package.searchpath
if not searchpath then
  local open, close = io.open, io.close
  -- Lua 5.1 keeps its search to itself.
  function searchpath(name, path)
    name = gsub(gsub(name, "%.", "/"), "%%", "%%%%")
    for template in gmatch(path, "[^;]+") do
      local file = gsub(template, "%?", name)
      local handle = open(file, "r")
      if handle then
        close(handle)
        return file
      end
    end
  end
end

local searchers = package.searchers or package.loaders

-- A module that is not there stays the searcher's to report: only a file that would be opened needs the C API.
local function wrap(position, searched_name)
  local search = searchers[position]
  searchers[position] = function(name)
    local wanted, path = searched_name(name), package.cpath
    local file = wanted and type(path) == "string" and searchpath(wanted, path)
    local refusal = file and prepare()
    if refusal then
      error(format("error loading module '%s' from file '%s':\n\t%s", name, file, refusal), 2)
    end
    return search(name)
  end
end

wrap(3, function(name)
  return name
end)
wrap(4, function(name)
  local dot = find(name, ".", 1, true)
  return dot and sub(name, 1, dot - 1)
end)

local loadlib = package.loadlib
function package.loadlib(file, symbol)
  local refusal = prepare()
  if refusal then
    return nil, refusal, "open"
  end
  return loadlib(file, symbol)
end
