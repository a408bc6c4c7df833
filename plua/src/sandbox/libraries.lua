-- The libraries pages get: those left out are removed, `load` and `require` are fitted to the page.
--
-- The chunk takes what it needs of the state's own code; `leave` and `level` end a protected call. It puts
-- functions of its own in the place of Lua's.
local native, ignored, leave, level = ...

local error, next, pcall, select, type = error, next, pcall, select, type
local find, gmatch, gsub, match, sub = string.find, string.gmatch, string.gsub, string.match, string.sub
local concat = table.concat
local load, loadstring = load, loadstring
local package, preload, loaded = package, package.preload, package.loaded
local searchers = package.searchers or package.loaders
local getinfo = debug.getinfo

local sandboxed, confined = native.is_sandboxed, native.is_confined
if sandboxed then native.sandbox(native, ignored) end
-- It hands out pointers into its memory, and those reach all memory without ffi.
if ignored.ffi then ignored["string.buffer"] = true end
if confined then native.confinement(native) end
local open, read, close = io.open, io.stdout.read, io.stdout.close

-- Modules beside the page come first; where threads have no working directory of their own, "." is not the page's
-- folder, so templates that are relative are given it while the searchers look.
if find(package.path, "./?.lua;", 1, true) ~= 1 then package.path = "./?.lua;" .. package.path end
for _, field in next, { "path", "cpath" } do
  local first = native["package_" .. field]
  if first then package[field] = first .. ";" .. package[field] end
end

local function absolute(templates, folder)
  return (
    gsub(templates, "[^;]+", function(template)
      if find(template, "^/") then return nil end
      return folder .. "/" .. gsub(template, "^%./", "")
    end)
  )
end

-- A search opens a file for each template, without a step of Lua between them.
local LONGEST_NAME, LONGEST_TEMPLATES = 1000, 65536
local function check_lengths(name, templates, level)
  if type(name) == "string" and #name > LONGEST_NAME then error("the module's name is too long", level) end
  if type(templates) == "string" and #templates > LONGEST_TEMPLATES then
    error("the templates of package.path and package.cpath are no longer than " .. LONGEST_TEMPLATES .. " bytes", level)
  end
end

-- The state is made anew when a module's file has changed, so that is to be known.
local function note(load)
  local file = match(getinfo(load, "S").source, "^@(.*)$")
  if file then native.note_module(file) end
end

for position, field in next, { [2] = "path", [3] = "cpath", [4] = "cpath" } do
  local search = searchers[position]
  searchers[position] = function(name)
    local templates, folder = package[field], native.folder()
    if type(templates) ~= "string" or type(name) ~= "string" then return search(name) end
    check_lengths(name, templates, 0)
    -- The fourth searcher looks for the library of the module's root.
    local file = gsub(position == 4 and gsub(name, "%..*", "") or name, "%.", "/")
    local function named() return file end
    local pipes = {}
    package[field] = gsub(templates, "[^;]+", function(template)
      if folder and not find(template, "^/") then template = folder .. "/" .. gsub(template, "^%./", "") end
      local path = gsub(template, "%?", named)
      if not native.is_pipe(path) then return template end
      -- The search would open it and wait for its other end.
      pipes[#pipes + 1] = "\n\tno plain file '" .. path .. "'"
      return ""
    end)
    if position == 2 then native.module_search() end
    local ok, found, more = pcall(search, name)
    package[field] = templates
    if not ok then error(found, 0) end
    if position == 2 and type(found) == "function" then note(found) end
    if #pipes > 0 and type(found) == "string" then found = found .. concat(pipes) end
    return found, more
  end
end

-- The file of a module that is there and may be opened; without one, the files that were looked for.
local function search_path(name, templates, separator, replacement)
  if type(name) ~= "string" or type(templates) ~= "string" then
    error("bad argument to 'searchpath' (strings expected)", 3)
  end
  check_lengths(name, templates, 3)
  separator = separator or "."
  if separator ~= "" then name = gsub(name, (gsub(separator, "%p", "%%%0")), function() return replacement or "/" end) end
  local tried = {}
  for template in gmatch(templates, "[^;]+") do
    local file = gsub(template, "%?", function() return name end)
    local handle, problem
    if not native.is_pipe(file) then
      handle, problem = open(file, "rb")
    end
    if handle then
      close(handle)
      return file
    end
    tried[#tried + 1] = "\n\tno file '" .. file .. "'"
    if problem and find(problem, "pLuaBaseDir", 1, true) then tried[#tried + 1] = " within pLuaBaseDir" end
  end
  return nil, concat(tried)
end

-- What a reader gives in pieces to `load`. It is called here: where an error comes out of a reader that LuaJIT itself
-- calls, no hook runs in the state any more, and so no limit strikes.
local function whole(reader)
  local pieces = {}
  while true do
    local piece = reader()
    if piece == nil or piece == "" then return concat(pieces) end
    if type(piece) ~= "string" and type(piece) ~= "number" then error("reader function must return a string", 0) end
    pieces[#pieces + 1] = piece
  end
end

-- A text so long is compiled in pieces, for the parser takes no step of Lua in which a limit could strike.
local LONG = 65536
local load_plain, has_limit, compile = loadstring or load, native.has_limit, native.compile_lua
local function load_text(chunk, name, mode, ...)
  if
    type(chunk) == "string"
    and #chunk > LONG
    and not find(chunk, "^\27")
    and (mode == nil or mode == "t" or mode == "bt")
    and (select("#", ...) == 0 or type((...)) == "table")
    and has_limit()
  then
    return compile(chunk, sub(type(name) == "string" and name or chunk, 1, LONGEST_NAME), (...))
  end
  return load_plain(chunk, name, mode, ...)
end

local function loads_readers(load_text)
  return function(chunk, name, ...)
    if type(chunk) ~= "function" then return load_text(chunk, name, ...) end
    local ok, text = leave(level(), pcall(whole, chunk))
    if not ok then return nil, text end
    return load_text(text, name or "=(load)", ...)
  end
end

-- Sources of load and friends are text where pages are kept from something: crafted bytecode could bring it back.
if sandboxed or confined or next(ignored) then
  local function as_text(chunk, name, _, ...)
    if type(chunk) == "string" and find(chunk, "^\27") then return nil, "bytecode is not loaded here" end
    return load_text(chunk, name, "t", ...)
  end
  local function file_as_text(file, ...)
    if file == nil then return nil, "there is no input to load" end
    local handle, problem = open(file, "rb")
    if not handle then return nil, problem end
    local source = read(handle, "*a")
    close(handle)
    if not source then return nil, "cannot read " .. file end
    return as_text(gsub(source, "^#[^\n]*", "", 1), "@" .. file, ...)
  end
  _G.load = loads_readers(function(chunk, name, ...) return as_text(chunk, name or "=(load)", ...) end)
  _G.loadstring = loadstring and loads_readers(function(chunk, name, ...) return as_text(chunk, name or chunk, ...) end)
  _G.loadfile = file_as_text
  _G.dofile = function(file)
    local chunk, problem = file_as_text(file)
    if not chunk then error(problem, 0) end
    return chunk()
  end
  searchers[2] = function(name)
    local templates, folder = package.path, native.folder()
    if type(templates) ~= "string" then error("'package.path' must be a string", 2) end
    native.module_search()
    local file, tried = search_path(name, folder and absolute(templates, folder) or templates)
    if not file then return tried end
    local chunk, problem = file_as_text(file)
    if not chunk then error("error loading module '" .. name .. "' from file '" .. file .. "':\n\t" .. problem, 2) end
    native.note_module(file)
    return chunk, file
  end
else
  -- In Lua 5.1 `load` takes no text, which is for `loadstring`; to LuaJIT they are the same.
  local only_readers = loadstring and not jit
  local load_reader = loads_readers(load_text)
  _G.load = function(chunk, ...)
    if only_readers and type(chunk) ~= "function" then return load(chunk, ...) end
    return load_reader(chunk, ...)
  end
  if jit then
    _G.loadstring = _G.load
  elseif only_readers then
    _G.loadstring = function(chunk, ...)
      if type(chunk) == "string" and #chunk > LONG then return load_text(chunk, ...) end
      return loadstring(chunk, ...)
    end
  end
end

-- A C module is opened by the path that was found to be allowed, not by another search.
if confined then
  for position, root_only in next, { [3] = false, [4] = true } do
    local search = searchers[position]
    searchers[position] = function(name)
      local wanted = name
      if root_only then
        wanted = match(name, "^([^.]*)%.")
        if not wanted then return nil end
      end
      local templates, folder = package.cpath, native.folder()
      if type(templates) ~= "string" then error("'package.cpath' must be a string", 2) end
      local file, tried = search_path(wanted, folder and absolute(templates, folder) or templates)
      file = file and native.within(file, false)
      -- Neither may stand in a template.
      if not file or find(file, "[?;]") then return tried end
      package.cpath = file
      local ok, found, more = pcall(search, name)
      package.cpath = templates
      if not ok then error(found, 0) end
      return found, more
    end
  end
  package.searchpath = package.searchpath and function(...) return search_path(...) end
elseif package.searchpath then
  local searchpath = package.searchpath
  function package.searchpath(name, templates, ...)
    check_lengths(name, templates, 3)
    return searchpath(name, templates, ...)
  end
end

if sandboxed then
  searchers[3], searchers[4] = nil, nil
  package.cpath = ""
end

_G.ffi = nil
for name in next, ignored do
  local library, field = match(name, "^([^.]+)%.(.+)$")
  if library then
    local functions = loaded[library]
    if type(functions) == "table" then functions[field] = nil end
    loaded[name], preload[name] = nil, nil
  elseif name == "string" then
    for field in next, string do
      string[field] = nil
    end
  else
    _G[name], loaded[name], preload[name] = nil, nil, nil
  end
  for _, registry in next, { loaded, preload } do
    for module in next, registry do
      if match(module, "^([^.]+)%.") == name then registry[module] = nil end
    end
  end
end
if ignored.package then
  _G.require, _G.module = nil, nil
end
