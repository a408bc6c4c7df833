-- Lua's own functions that open, remove or rename files by name, kept to the files pages may open (pLuaBaseDir, pLuaSandbox).
--
-- The chunk takes the functions written in Rust, and puts functions of its own in the place of Lua's.
local native = ...

local error, type = error, type
local within = native.within

-- The system's number for "permission denied".
local DENIED = 13

-- Lua takes a number for a file name too; what is neither is for its own function to refuse.
local function named(file)
  local kind = type(file)
  return kind == "string" or kind == "number"
end

-- A function that reports what is wrong as nil, message, number.
local function reporting(run)
  return function(file, ...)
    if not named(file) then return run(file, ...) end
    local path, refusal = within("" .. file, false)
    if not path then return nil, refusal, DENIED end
    return run(path, ...)
  end
end

-- A function that raises what is wrong, and does something else without a name.
local function raising(run)
  return function(file, ...)
    if not named(file) then return run(file, ...) end
    local path, refusal = within("" .. file, false)
    if not path then error(refusal, 2) end
    return run(path, ...)
  end
end

local io, os, package = io, os, package
local open, remove, rename = io.open, os.remove, os.rename
io.open, io.lines = reporting(open), raising(io.lines)
io.input, io.output = raising(io.input), raising(io.output)
package.loadlib = reporting(package.loadlib)

-- Files without a name are out of every page's reach.
io.tmpfile = function()
  local path, problem = native.temporary_file(false)
  if not path then return nil, problem end
  local file, refusal, number = open(path, "w+b")
  remove(path)
  return file, refusal, number
end

os.tmpname = function()
  local path, problem = native.temporary_file(true)
  if not path then error(problem, 2) end
  return path
end

os.remove = function(file, ...)
  if not named(file) then return remove(file, ...) end
  local path, refusal = within("" .. file, true)
  if not path then return nil, refusal, DENIED end
  return remove(path)
end

os.rename = function(from, to, ...)
  if not named(from) or not named(to) then return rename(from, to, ...) end
  local source, refusal = within("" .. from, true)
  local target
  if source then
    target, refusal = within("" .. to, true)
  end
  if not target then return nil, refusal, DENIED end
  return rename(source, target)
end
