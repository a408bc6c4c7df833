-- What pLuaSandbox takes away and shields: ways out of Lua, and tables that requests of a state would share unseen.
--
-- The chunk adds to `ignored` the names that pages do not get.
local native, ignored = ...

local error, next = error, next
local metatable_of = debug.getmetatable

for _, name in
  next,
  {
    "ffi",
    "jit.attach",
    "jit.opt",
    "jit.profile",
    "jit.util",
    "string.dump",
    "io.popen",
    "io.stderr",
    "io.stdin",
    "io.stdout",
    "os.execute",
    "os.getenv",
    "package.loadlib",
    "newproxy",
    "warn",
  }
do
  ignored[name] = true
end
for name in next, debug do
  if name ~= "traceback" then ignored["debug." .. name] = true end
end

-- Shared by all strings and arrays of JSON: who could change one would be called with what others do.
metatable_of("").__metatable = false
native.json_array.__metatable = false

local collect = collectgarbage
local HARMLESS = { collect = true, count = true, step = true }
_G.collectgarbage = function(what, ...)
  if what ~= nil and not HARMLESS[what] then error("collectgarbage only counts, steps and collects here", 2) end
  return collect(what, ...)
end
