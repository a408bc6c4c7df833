-- Where the output of a page goes: its own buffer, and those that capture, blocks and ob_start open above it.
--
-- The chunk takes the functions written in Rust and returns the parts that the state's own code needs.
local native = ...

local error, rawget, select, tostring, type = error, rawget, select, tostring, type
local gsub = string.gsub
local metatable_of = debug.getmetatable

local buffer = native.buffer(native)
local new_buffer, put_text, put_number, put_html = buffer.new, buffer.put_text, buffer.put_number, buffer.put_html
local size_of, text_of, contents_of, allow = buffer.size_of, buffer.text_of, buffer.contents_of, buffer.allow

-- The buffers above the page's own, which is number 0, each with what opened it: OB, CAPTURE, or a block's
-- { name, source, line }. Only the topmost is written to.
local OB, CAPTURE = {}, {}
local buffers, openers, level = { [0] = new_buffer() }, {}, 0

-- Where text goes, and what `<?= ?>` and `<?& ?>` do with values.
local slot = { out = buffers[0] }

-- A value that is neither string nor number, as echo shows it: `table [0x...]` unless it says otherwise.
local function describe(value)
  local kind = type(value)
  if kind == "string" or kind == "number" then return value end
  local shown = tostring(value)
  if kind == "nil" or kind == "boolean" then return shown end
  local kind_shown = type(shown)
  -- Lua 5.1 and LuaJIT take anything, which could then be put out in yet another way, and unescaped.
  if kind_shown ~= "string" and kind_shown ~= "number" then error("'__tostring' must return a string", 3) end
  local metatable = metatable_of(value)
  if type(metatable) == "table" and rawget(metatable, "__tostring") ~= nil then return shown end
  return (gsub(shown, "^(%a+): (.*)$", "%1 [%2]"))
end

local function put_value(value)
  local kind = type(value)
  if kind == "string" then
    put_text(slot.out, value)
  elseif kind == "number" then
    put_number(slot.out, value)
  else
    -- It may put out something itself, or open another buffer.
    local shown = describe(value)
    put_text(slot.out, shown)
  end
end

local function put_escaped(value)
  value = describe(value)
  if type(value) == "string" then put_html(slot.out, value) else put_number(slot.out, value) end
end

slot.put = put_value

-- Values are described before the first of them is put out.
local function put_values(...)
  local count = select("#", ...)
  if count == 1 then return put_value((...)) end
  local values = { ... }
  for i = 1, count do values[i] = describe(values[i]) end
  for i = 1, count do put_value(values[i]) end
end
-- The text that follows an echo in the page comes with it: one call, and Lua allows a loop only so many.
function slot.echo(following, ...)
  if select("#", ...) == 1 then put_value((...)) else put_values(...) end
  put_value(following)
end

function slot.escape(following, ...)
  local count = select("#", ...)
  if count == 1 then
    put_escaped((...))
  else
    local values = { ... }
    for i = 1, count do values[i] = describe(values[i]) end
    for i = 1, count do put_escaped(values[i]) end
  end
  put_value(following)
end

-- Bytes each open buffer may hold, where output is limited: what is put out already and what lies below count.
local limit, rooms = 0, {}
local room = 0

-- Memory looks by itself whether a buffer has become too large; after a put into a table of pieces, this does.
local function check()
  if limit > 0 and size_of(slot.out) > room then
    native.go_over_output()
    -- It strikes here, or in a moment.
    while true do end
  end
end

local put, echo, escape = slot.put, slot.echo, slot.escape
local function checked_put(text)
  put(text)
  if size_of(slot.out) > room then check() end
end
local function checked_echo(following, ...)
  echo(following, ...)
  if size_of(slot.out) > room then check() end
end
local function checked_escape(following, ...)
  escape(following, ...)
  if size_of(slot.out) > room then check() end
end

local function open(opener)
  if limit > 0 then
    room = room - size_of(slot.out)
    rooms[level + 1] = room
  end
  level = level + 1
  local buffer = new_buffer(limit > 0 and rooms[level] or nil)
  buffers[level], openers[level], slot.out = buffer, opener, buffer
  return buffer
end

-- Drops the buffers above `to`.
local function drop(to)
  for i = level, to + 1, -1 do buffers[i], openers[i] = nil, nil end
  level, slot.out = to, buffers[to]
  if limit > 0 then room = rooms[to] end
end

-- Moves the output above `to` down into it, in order.
local function settle(to)
  for i = level, to + 1, -1 do put_text(buffers[i - 1], text_of(buffers[i])) end
  drop(to)
end

-- Takes out what was written since buffer number `at` was opened.
local function take(at)
  settle(at)
  local taken = text_of(buffers[at])
  drop(at - 1)
  return taken
end

-- The topmost buffer that ob_start did not open, or 0.
local function innermost()
  local at = level
  while at > 0 and openers[at] == OB do at = at - 1 end
  return at
end

-- What a function puts out. An error leaves the buffer to whoever catches it, so that its calls can still be listed.
local function capture(run, ...)
  if type(run) ~= "function" then
    error("bad argument #1 to 'capture' (function expected, got " .. (run == nil and "no value" or type(run)) .. ")", 2)
  end
  local buffer = open(CAPTURE)
  run(...)
  for at = level, 1, -1 do
    if buffers[at] == buffer then return take(at) end
  end
  error("what capture ran was interrupted, and its output went elsewhere", 2)
end

local function open_block(name, source, line) open({ name, source or "", line or 0 }) end

-- Name and text of the innermost open block, or nothing.
local function close_block()
  local at = innermost()
  local block = openers[at]
  if block and block ~= CAPTURE then return block[1], take(at) end
end

local ob = {}
function ob.ob_start()
  open(OB)
  return true
end
function ob.ob_get_contents() return openers[level] == OB and text_of(buffers[level]) end
function ob.ob_get_clean() return openers[level] == OB and take(level) end
function ob.ob_end_clean()
  if openers[level] ~= OB then return false end
  drop(level - 1)
  return true
end
function ob.ob_end_flush()
  if openers[level] ~= OB then return false end
  settle(level - 1)
  return true
end
function ob.ob_get_level() return level - innermost() end

-- Empties the page's own buffer. A large page's memory is not kept for the small ones that follow.
local LARGEST_KEPT = 1048576
local function clear()
  if buffer.has_memory and size_of(buffers[0]) > LARGEST_KEPT then
    buffers[0] = new_buffer(rooms[0])
  else
    buffers[0]:reset()
  end
end

local spare = new_buffer()

-- What compiled pages know as `__plua`: a page could change the table, so the way to the output itself is not in it.
local for_pages
local function renew() for_pages = { put = slot.put, echo = slot.echo, escape = slot.escape } end
renew()

return {
  slot = slot,
  for_pages = function() return for_pages end,
  -- Forgets what pages made of that table.
  renew = renew,
  -- Puts out values as `echo` shows them.
  put = put_values,
  capture = capture,
  open_block = open_block,
  close_block = close_block,
  ob = ob,
  level = function() return level end,
  check = not buffer.has_memory and check or nil,
  -- So many bytes may be put out by each page from here on; 0 is no limit.
  limit = function(bytes)
    limit, room = bytes, bytes
    rooms[0] = bytes > 0 and bytes or nil
    allow(buffers[0], rooms[0])
    if bytes > 0 and not buffer.has_memory then
      slot.put, slot.echo, slot.escape = checked_put, checked_echo, checked_escape
    else
      slot.put, slot.echo, slot.escape = put, echo, escape
    end
    -- Not set in the old one, whose metatable may be a page's.
    renew()
  end,
  -- An error was caught where `at` buffers were open: what was being captured then has no use any more.
  unwind = function(at)
    for i = at + 1, level do
      if openers[i] ~= OB then return drop(i - 1) end
    end
  end,
  -- The innermost block that is still open: { name, source, line }.
  unended_block = function()
    for i = level, 1, -1 do
      if openers[i] ~= OB and openers[i] ~= CAPTURE then return openers[i] end
    end
  end,
  -- What the page's own buffer holds, for Rust. Until `sent` or `reset` all output goes elsewhere: taking the address
  -- may collect garbage, and a finalizer that echoes would move what the address names.
  contents = function()
    slot.out = spare
    return contents_of(buffers[0])
  end,
  -- Moves everything into the page's own buffer.
  settle = function() settle(0) end,
  -- Takes out what the page has put out and not sent.
  take = function()
    settle(0)
    local taken = text_of(buffers[0])
    buffers[0]:reset()
    return taken
  end,
  -- Rust is done with the contents; `kept` when they have not been sent, `more` bytes were beside them.
  sent = function(kept, more)
    if limit > 0 and not kept then
      rooms[0] = rooms[0] - size_of(buffers[0]) - (more or 0)
      if level == 0 then room = rooms[0] end
      allow(buffers[0], rooms[0])
    end
    if not kept then clear() end
    slot.out = buffers[level]
  end,
  reset = function()
    if level > 0 then drop(0) end
    if limit > 0 and rooms[0] ~= limit then
      rooms[0] = limit
      allow(buffers[0], limit)
    end
    room = limit
    spare:reset()
    clear()
    slot.out = buffers[0]
  end,
  tidy = function()
    clear()
    slot.out = buffers[0]
  end,
}
