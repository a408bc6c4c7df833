-- Files that pages open with Lua's own functions: a request has only so many open at once, and what it leaves open is
-- closed when it ends. What they write to the standard output goes into the response.
--
-- The chunk takes the functions written in Rust, Lua's own `pcall`, the marks of buffer.lua, what puts out values and the methods
-- of files, and returns the function that closes, and what puts a page's files aside and brings them back.
local native, pcall, marks, put, methods = ...

local error, next, select, setmetatable, type = error, next, select, setmetatable, type
local find, gsub, sub = string.find, string.gsub, string.sub
local collect, getupvalue = collectgarbage, debug.getupvalue
local io, os = io, os
local open, popen, lines, tmpfile, file_type = io.open, io.popen, io.lines, io.tmpfile, io.type
local stdin, stdout = io.stdin, io.stdout
local input, output, close = io.input, io.output, stdout.close

local MOST = 100
local TOO_MANY = "Too many open files"
-- The system's numbers for that, and for a call of it that a signal has ended.
local NUMBER, INTERRUPTED = 24, 4

-- What the running request has opened and nothing has collected, and how many of them may be open, at most.
local opened, count = setmetatable({}, { __mode = "k" }), 0
-- The default input and output before the request chose others, by the functions that choose.
local defaults = {}
-- The processes of this thread before the request's first command.
local processes
-- Whether the request is known to have files. What the file of pLuaInit opens stays open.
local noted = false

local function is_of_request()
  noted = noted or native.opens_files()
  -- Closing may run a finalizer, which puts something out.
  if noted then marks.needs_reset = 1 end
  return noted
end

local function note(file)
  if not is_of_request() then return end
  opened[file] = true
  count = count + 1
end

local function recount()
  count = 0
  for file in next, opened do
    if file_type(file) == "file" then
      count = count + 1
    else
      opened[file] = nil
    end
  end
  return count < MOST
end

local function is_room()
  if count < MOST or recount() then return true end
  -- One collection closes a file that nothing refers to, the next one forgets it.
  collect()
  collect()
  return recount()
end

-- What Lua says of bad arguments to a function that it does not know by name here, or that is called by one of these.
local function misuse(problem, name) return (gsub(gsub(problem, "^plua:%d+: ", ""), "'%?'", "'" .. name .. "'", 1)) end

local function is_name(file) return type(file) == "string" or type(file) == "number" end

local function too_many(file)
  if is_name(file) then return file .. ": " .. TOO_MANY end
  return TOO_MANY
end

local function opening(name, run)
  return function(...)
    if not is_room() then return nil, too_many((...)), NUMBER end
    local ok, file, problem, number = pcall(run, ...)
    -- By a signal of the server's that is not for the page. One that is strikes before the next try, or the one after.
    while ok and not file and number == INTERRUPTED do
      ok, file, problem, number = pcall(run, ...)
    end
    if not ok then error(misuse(file, name), 2) end
    if not file then return nil, problem, number end
    note(file)
    return file
  end
end

local open_file = opening("open", open)
io.tmpfile = opening("tmpfile", tmpfile)

-- The C library takes more letters than Lua's manual names: by some of them it maps the file into memory, where one that is made
-- shorter meanwhile ends the process, or reads it by code that no signal ends.
local MODES = "^[rwa]%+?b?$"
local has_limit, is_guarded = native.has_limit, native.is_sandboxed or native.is_confined
io.open = function(...)
  local _, mode = ...
  if type(mode) == "string" and not find(mode, MODES) and (is_guarded or has_limit()) then
    error("bad argument #2 to 'open' (a mode is r, w or a, and + and b may follow)", 2)
  end
  return open_file(...)
end

if popen then
  -- The command's process is found as the one that this thread has since: nothing else tells it. It leads a group of its
  -- own, so that all it starts ends with it.
  io.popen = opening("popen", function(...)
    local before = is_of_request() and native.children()
    processes = processes or before
    local command = ...
    local grouped = before and is_name(command) and native.in_own_group("" .. command)
    if not grouped then return popen(...) end
    local file, problem, number = popen(grouped, select(2, ...))
    if not file then return nil, command .. sub(problem, #grouped + 1), number end
    native.end_with_page(before)
    return file
  end)
end

local execute = os.execute
os.execute = function(command)
  if command == nil then return execute() end
  if is_name(command) then
    local done, status, what, code, is_over = native.execute("" .. command)
    -- The time limit strikes here, or will within a moment.
    while is_over do
    end
    if done then
      -- Lua 5.1 gives the system's own number.
      if loadstring then return status end
      return what == "exit" and code == 0 or nil, what, code
    end
  end
  return execute(command)
end

-- In a sandbox those of the whole process are out of reach, as io.stdin and io.stdout are.
local sandboxed = native.is_sandboxed
local function visible(file)
  if sandboxed and (file == stdin or file == stdout) then return nil end
  return file
end

-- Whether the default output is the standard one.
local puts_out = true
local function note_output() puts_out = output() == stdout end

local function choosing(name, choose)
  return function(file)
    if file == nil then return visible(choose()) end
    local opens = is_name(file)
    if opens and not is_room() then error(too_many(file), 2) end
    local before = choose()
    local ok, chosen = pcall(choose, file)
    if not ok then error(misuse(chosen, name), 2) end
    if is_of_request() and not defaults[choose] then defaults[choose] = before end
    if opens then note(chosen) end
    note_output()
    return visible(chosen)
  end
end

io.input, io.output = choosing("input", input), choosing("output", output)

-- The file of an iterator. Lua 5.1 shows nobody what a function written in C holds: there the iterator is made here.
local function file_of(iterate)
  local _, file = getupvalue(iterate, 1)
  return file
end
if not file_of(stdout.lines(stdout)) then
  local made, lines_of, lines_of_name = setmetatable({}, { __mode = "k" }), stdout.lines, lines
  function file_of(iterate) return made[iterate] end
  function lines(name)
    if name == nil then return lines_of_name() end
    if not is_name(name) then return lines_of_name(name) end
    local file, problem = open(name)
    if not file then error("bad argument #1 to 'lines' (" .. problem .. ")", 0) end
    local next_line = lines_of(file)
    local function iterate()
      local line = next_line()
      if line == nil then close(file) end
      return line
    end
    made[iterate] = file
    return iterate
  end
end

local NO_STANDARD = "there is no standard input or output in a sandbox (pLuaSandbox): choose a file first"

io.lines = function(...)
  local name = ...
  if name == nil and sandboxed and input() == stdin then error(NO_STANDARD, 2) end
  if name ~= nil and not is_room() then error(too_many(name), 2) end
  local ok, iterate, state, control, closing = pcall(lines, ...)
  if not ok then error(misuse(iterate, "lines"), 2) end
  if name ~= nil then note(file_of(iterate)) end
  return iterate, state, control, closing
end

if sandboxed then
  local read = io.read
  function io.read(...)
    if input() == stdin then error(NO_STANDARD, 2) end
    return read(...)
  end
end

local function check_texts(...)
  for i = 1, select("#", ...) do
    local value = (select(i, ...))
    if not is_name(value) then
      error("bad argument #" .. i .. " to 'write' (string expected, got " .. type(value) .. ")", 3)
    end
  end
end

-- The standard output of the process is nobody's: what is written there is put out.
local write, write_default = stdout.write, io.write
-- What they return differs from Lua to Lua.
local WRITTEN, WRITTEN_DEFAULT = write(stdout), write_default()
function methods.write(file, ...)
  -- PUC Lua would name what stands before it.
  if file == stdout or not jit then check_texts(...) end
  if file ~= stdout then return write(file, ...) end
  put(...)
  return WRITTEN
end

function io.write(...)
  if not puts_out then return write_default(...) end
  check_texts(...)
  put(...)
  return WRITTEN_DEFAULT
end

local STANDARD = { [input] = stdin, [output] = stdout }

-- Closes what the request has opened. A limit may cut in: another call goes on with what is left.
local function close_all()
  -- A limit may have cut in between a command and its noting; closing would wait for its end.
  if processes then native.end_with_page(processes) end
  for choose, before in next, defaults do
    defaults[choose] = nil
    pcall(choose, file_type(before) == "file" and before or STANDARD[choose])
    note_output()
  end
  for file in next, opened do
    opened[file] = nil
    if file_type(file) == "file" then pcall(close, file) end
  end
  count, noted, processes = 0, false, nil
end

return close_all,
  -- What the page that waits has here, which is nothing to others until it is brought back; false where it has what is the whole
  -- state's.
  function()
    if processes or next(defaults) then return false end
    if not noted then return nil end
    local kept = { opened = opened, count = count }
    opened, count, noted = setmetatable({}, { __mode = "k" }), 0, false
    return kept
  end,
  function(kept)
    if kept then
      opened, count, noted = kept.opened, kept.count, true
    end
  end
