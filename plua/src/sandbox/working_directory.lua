-- Lua's own functions that take paths or run commands: their thread goes to the requested page's folder before the first
-- of them in a request. Most pages call none, and going there costs a call of the system.
--
-- Code in C uses the working directory as it likes, so once a state has any each of its requests begins in the folder. So
-- does each with 5.4 and 5.1, whose errors would name what stands before these functions. The chunk takes the functions
-- written in Rust and the marks of buffer.lua, and returns what a request begins with, what notes who asks for `ffi`: to
-- be called when what pages do without is taken out of it, and what notes that the thread is in the folder.
local native, marks = ...

if not jit then
  return native.enter_folder, function() end, function() end
end

local next, type = next, type
local enter_folder = native.enter_folder
local package = package
local loaded, preload, searchers = package.loaded, package.preload, package.loaders

local is_there, has_c_code = false, false

local function enter()
  if is_there then return end
  is_there, marks.needs_reset = true, 1
  enter_folder()
end

local function note_c_code()
  has_c_code = true
  enter()
end

local function entering(run)
  return run and function(...)
    enter()
    return run(...)
  end
end

for _, name in next, { "open", "lines", "input", "output", "popen" } do
  io[name] = entering(io[name])
end
os.execute, native.execute = entering(os.execute), entering(native.execute)
os.remove, os.rename = entering(os.remove), entering(os.rename)
_G.loadfile, _G.dofile, package.searchpath = entering(loadfile), entering(dofile), entering(package.searchpath)

local loadlib = package.loadlib
function package.loadlib(...)
  note_c_code()
  return loadlib(...)
end

for _, position in next, { 3, 4 } do
  local search = searchers[position]
  searchers[position] = function(name)
    local load, extra = search(name)
    if type(load) == "function" then note_c_code() end
    return load, extra
  end
end

local function begin()
  is_there = false
  if has_c_code then enter() end
end

local function watch_ffi()
  local ffi = loaded.ffi
  if not ffi then return end
  loaded.ffi = nil
  function preload.ffi()
    note_c_code()
    return ffi
  end
end

return begin, watch_ffi, function() is_there = true end
