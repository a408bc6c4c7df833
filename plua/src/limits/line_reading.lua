-- Reading lines of files in a sandbox with LuaJIT and Lua 5.1, whose own code loops for ever in C over a line of NULs: it
-- counts no byte of one, so neither the memory limit nor the time limit comes to its turn. A page can make such a file out of
-- nothing, by writing behind a gap of terabytes.
--
-- The chunk takes the table of the methods of files and puts others there, and into `io`.
local methods = ...

local error, find, select, sub, type, unpack = error, string.find, select, string.sub, type, unpack
local concat = table.concat
local io = io
local input, kind_of, lines_of_default, open = io.input, io.type, io.lines, io.open
local close, lines, read, seek = methods.close, methods.lines, methods.read, methods.seek

local BLOCK = 4096

local function read_line(file, keeps_end)
  -- What comes after the line is given back, or not read where that cannot be done.
  local size = seek(file) and BLOCK or 1
  local pieces, count = {}, 0
  while true do
    local block, problem, number = read(file, size)
    if not block then
      if problem then return nil, problem, number end
      if count == 0 then return nil end
      return concat(pieces)
    end
    count = count + 1
    local at = find(block, "\n", 1, true)
    if at then
      if at < #block then seek(file, "cur", at - #block) end
      pieces[count] = sub(block, 1, keeps_end and at or at - 1)
      return concat(pieces)
    end
    pieces[count] = block
  end
end

-- One format, as Lua's own reads it.
local function read_one(file, format)
  if type(format) == "string" then
    if find(format, "^%*?l") then return read_line(file) end
    if jit and find(format, "^%*?L") then return read_line(file, true) end
  end
  return read(file, format)
end

local function read_all(file, ...)
  local count = select("#", ...)
  if kind_of(file) ~= "file" then return read(file, ...) end
  if count == 0 then return read_line(file) end
  if count == 1 then return read_one(file, (...)) end
  local results = { ... }
  for i = 1, count do
    local problem, number
    results[i], problem, number = read_one(file, results[i])
    if problem then return nil, problem, number end
    if results[i] == nil then return unpack(results, 1, i) end
  end
  return unpack(results, 1, count)
end

-- The file stands first among what the iterator holds, for those who look for it there.
local function iterator(file, closes, ...)
  local count, formats = select("#", ...), { ... }
  return function()
    if kind_of(file) ~= "file" then error("file is already closed", 2) end
    local results = { read_all(file, unpack(formats, 1, count)) }
    if results[1] == nil then
      if closes then close(file) end
      return
    end
    return unpack(results, 1, count > 0 and count or 1)
  end
end

methods.read = read_all
methods.lines = function(file, ...)
  if kind_of(file) ~= "file" then return lines(file, ...) end
  return iterator(file, false, ...)
end
io.read = function(...) return read_all(input(), ...) end
io.lines = function(name, ...)
  if name == nil then return iterator(input(), false, ...) end
  if type(name) ~= "string" and type(name) ~= "number" then return lines_of_default(name, ...) end
  local file, problem = open(name)
  if not file then error(problem, 2) end
  return iterator(file, true, ...)
end
