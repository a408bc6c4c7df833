-- Makes `require` and `package.loadlib` ask for the C API before they open a C library, and look where Debian and
-- Fedora put modules. `prepare` returns the sentence that says why C modules cannot be loaded, or nil and whether there is
-- another Lua beside this one: `open` finds their functions then.

local prepare, open_beside, architecture = ...
local package, error, type = package, error, type
if not package then return end
local find, format, gmatch, gsub, match, sub =
  string.find, string.format, string.gmatch, string.gsub, string.match, string.sub
local version = match(_VERSION, "%d+%.%d+")

local function extended(path, templates)
  for _, template in ipairs(templates) do
    template = gsub(template, "VERSION", version)
    if not find(";" .. path .. ";", ";" .. template .. ";", 1, true) then path = path .. ";" .. template end
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

-- The function that opens a module: what stands before a hyphen is a version and does not count.
local function opener(name) return "luaopen_" .. gsub(gsub(name, "^.-%-", ""), "%.", "_") end

-- A module that is not there stays the searcher's to report: only a file that would be opened needs the C API.
local function wrap(position, searched_name, is_whole)
  local search = searchers[position]
  searchers[position] = function(name)
    local wanted, path = searched_name(name), package.cpath
    local file = wanted and type(path) == "string" and searchpath(wanted, path)
    if not file then return search(name) end
    local message, is_beside = prepare()
    if not message then
      if not is_beside then return search(name) end
      local found
      found, message = open_beside(file, opener(name))
      if found then return found, file end
      if not message then
        message = "no function " .. opener(name)
        -- A part that its module's own library does not have.
        if not is_whole then return format("\n\tno module '%s' in file '%s'", name, file) end
      end
    end
    error(format("error loading module '%s' from file '%s':\n\t%s", name, file, message), 2)
  end
end

wrap(3, function(name) return name end, true)
wrap(4, function(name)
  local dot = find(name, ".", 1, true)
  return dot and sub(name, 1, dot - 1)
end)

local loadlib = package.loadlib
function package.loadlib(file, symbol)
  local message, is_beside = prepare()
  if message then return nil, message, "open" end
  if not is_beside or type(file) ~= "string" or type(symbol) ~= "string" then return loadlib(file, symbol) end
  local found
  found, message = open_beside(file, symbol)
  if found then return found end
  if message then return nil, message, "open" end
  return nil, format("%s: undefined symbol: %s", file, symbol), "init"
end
