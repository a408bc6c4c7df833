-- What pLuaSandbox takes away and shields: ways out of Lua, and tables that requests of a state would share unseen.
--
-- The chunk adds to `ignored` the names that pages do not get.
local native, ignored = ...

local error, next, setmetatable, tonumber, type = error, next, setmetatable, tonumber, type
local GLOBALS = _G
local getinfo, metatable_of = debug.getinfo, debug.getmetatable

for _, name in next, {
  "ffi", "jit.attach", "jit.opt", "jit.profile", "jit.util", "string.dump", "io.popen", "io.stderr",
  "os.execute", "os.getenv", "os.setlocale", "package.loadlib", "newproxy", "warn",
} do
  ignored[name] = true
end
for name in next, debug do
  if name ~= "traceback" then ignored["debug." .. name] = true end
end

-- Shared by all strings, files and arrays of JSON: who could change one would be called with what others do.
metatable_of("").__metatable = false
native.json_array.__metatable = false
local of_files = metatable_of(io.stdout)
if of_files.__index == of_files then
  local methods = {}
  for name, method in next, of_files do methods[name] = name:find("^__") == nil and method or nil end
  of_files.__index = methods
end
of_files.__metatable = false

local collect = collectgarbage
local HARMLESS = { collect = true, count = true, step = true }
GLOBALS.collectgarbage = function(what, ...)
  if what ~= nil and not HARMLESS[what] then error("collectgarbage only counts, steps and collects here", 2) end
  return collect(what, ...)
end

-- Functions written in C and the engine's own have environments that are no page's business: some hold metatables.
local getfenv, setfenv = getfenv, setfenv
if getfenv then
  -- The page's function that is meant, or nothing; `level` counts from the caller of the caller.
  local function of_page(where)
    if type(where) == "function" then
      local info = getinfo(where, "S")
      if info.what ~= "C" and info.source ~= "=plua" then return where end
      return nil
    end
    local level = where == nil and 1 or tonumber(where)
    if not level then error("bad argument #1 (function or level expected)", 3) end
    if level < 1 then return nil end
    local info = getinfo(level + 2, "Sf")
    if not info then error("bad argument #1 (invalid level)", 3) end
    if info.func and info.what ~= "C" and info.source ~= "=plua" then return info.func end
  end

  GLOBALS.getfenv = function(where)
    local run = of_page(where)
    -- Not a tail call: the levels are counted from here.
    local globals = run and getfenv(run) or GLOBALS
    return globals
  end

  GLOBALS.setfenv = function(where, globals)
    if type(globals) ~= "table" then error("bad argument #2 to 'setfenv' (table expected, got " .. type(globals) .. ")", 2) end
    local run = of_page(where)
    if not run then error("'setfenv' cannot change the environment of this function", 2) end
    setfenv(run, globals)
    return run
  end
end
