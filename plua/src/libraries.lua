-- The libraries pages get: those left out are removed, `load` and `require` are fitted to the page.
--
-- The chunk takes what it needs of the state's own code; `leave` and `level` end a protected call.
local native, ignored, leave, level = ...

local error, next, pcall, type = error, next, pcall, type
local find, gsub = string.find, string.gsub
local concat = table.concat
local load, loadstring = load, loadstring

-- Sources of load and friends are text where libraries are left out: crafted bytecode could bring them back.
if next(ignored) then
  local load_text = loadstring or load
  local open = io.open
  local function as_text(chunk, name, _, ...)
    if type(chunk) == "function" then
      local pieces = {}
      for piece in chunk do
        if piece == "" then break end
        pieces[#pieces + 1] = piece
      end
      chunk = concat(pieces)
    end
    if type(chunk) == "string" and find(chunk, "^\27") then return nil, "bytecode is not loaded here" end
    return load_text(chunk, name, "t", ...)
  end
  local function file_as_text(file, ...)
    local handle, problem = open(file, "rb")
    if not handle then return nil, problem end
    local source = handle:read("*a")
    handle:close()
    return as_text(gsub(source, "^#[^\n]*", "", 1), "@" .. file, ...)
  end
  _G.load = function(chunk, name, ...) return leave(level(), as_text(chunk, name or "=(load)", ...)) end
  _G.loadstring = loadstring and function(chunk, name, ...) return as_text(chunk, name or chunk, ...) end
  _G.loadfile = file_as_text
  _G.dofile = function(file)
    local chunk, problem = file_as_text(file)
    if not chunk then error(problem, 0) end
    return chunk()
  end
else
  _G.load = function(...) return leave(level(), load(...)) end
end

_G.ffi = nil
local package = package
-- Modules beside the page come first; where threads have no working directory of their own, "." is not the page's
-- folder, so templates that are relative are given it while the searchers look.
if find(package.path, "./?.lua;", 1, true) ~= 1 then package.path = "./?.lua;" .. package.path end
for _, field in next, { "path", "cpath" } do
  local first = native["package_" .. field]
  if first then package[field] = first .. ";" .. package[field] end
end
local searchers = package.searchers or package.loaders
for position, field in next, { [2] = "path", [3] = "cpath", [4] = "cpath" } do
  local search = searchers[position]
  searchers[position] = function(name)
    local templates, folder = package[field], native.folder()
    if type(templates) ~= "string" or type(name) ~= "string" then return search(name) end
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
    local ok, found, more = pcall(search, name)
    package[field] = templates
    if not ok then error(found, 0) end
    if #pipes > 0 and type(found) == "string" then found = found .. concat(pipes) end
    return found, more
  end
end
for library in next, ignored do
  if library == "string" then
    for name in next, string do string[name] = nil end
  else
    _G[library] = nil
    package.loaded[library] = nil
  end
  for _, registry in next, { package.loaded, package.preload } do
    for name in next, registry do
      if find(name, "^" .. library .. "%.") then registry[name] = nil end
    end
  end
  package.preload[library] = nil
end
if ignored.package then _G.require, _G.module = nil, nil end
