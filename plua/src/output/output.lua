-- Where the output of a page goes: its own buffer, and those that capture, blocks and ob_start open above it.
--
-- The chunk takes the functions written in Rust and returns the parts that the state's own code needs.
local native = ...

local error, rawequal, rawget, select, tostring, type = error, rawequal, rawget, select, tostring, type
local gsub, match = string.gsub, string.match
local huge, min = math.huge, math.min
local metatable_of = debug.getmetatable
local OF_FILES, file_type = metatable_of(io.stdout), io.type

local null = native.json_null

local buffer = native.buffer(native)
local put_text, put_texts, put_number, put_html = buffer.put_text, buffer.put_texts, buffer.put_number, buffer.put_html
local new_buffer, text_of, contents_of = buffer.new, buffer.text_of, buffer.contents_of
local use, reset, left_in, allow = buffer.use, buffer.reset, buffer.left_in, buffer.allow

-- The buffers above the page's own, which is number 0, each with what opened it: OB, CAPTURE, or a block's
-- { name, source, line }. Only the topmost is written to.
local OB, CAPTURE = {}, {}
local buffers, openers, level = { [0] = new_buffer(huge) }, {}, 0
-- How many of them were open before the page itself began (pLuaPrepend).
local prepended = 0

-- Bytes a page may put out: what is sent already and what lies below an open buffer count.
local limit = huge

-- Text goes into the topmost buffer.
use(buffers[0])

-- Buffers of a page that has ended, for the next one that runs while others wait.
local idle

-- A value that is neither string nor number, as echo shows it: what it is, unless it says otherwise. Where it is in memory
-- is nothing for visitors. NULL of a database or of JSON is shown as nothing.
local function describe(value)
  local kind = type(value)
  if kind == "string" or kind == "number" then return value end
  if kind == "nil" or kind == "boolean" then return tostring(value) end
  if rawequal(value, null) then return "" end
  local metatable = metatable_of(value)
  if type(metatable) ~= "table" or rawget(metatable, "__tostring") == nil then return kind end
  if metatable == OF_FILES then return file_type(value) end
  local shown = tostring(value)
  local kind_shown = type(shown)
  -- Lua 5.1 and LuaJIT take anything, which could then be put out in yet another way, and unescaped.
  if kind_shown ~= "string" and kind_shown ~= "number" then error("'__tostring' must return a string", 3) end
  if kind == "cdata" and kind_shown == "string" then
    -- Of integers of 64 bits LuaJIT's own shows the suffix too; pointers say where they lead.
    return match(shown, "^(%-?%d+)U?LL$") or (gsub(shown, ": 0x%x+$", ""))
  end
  return shown
end

-- What puts out a value takes the text that follows it too: one call for both, of which Lua allows a loop only so many.
local function put_value(value, following)
  local kind = type(value)
  if kind ~= "string" and kind ~= "number" then
    -- It may put out something itself, or open another buffer.
    value = describe(value)
    kind = type(value)
  end
  if kind == "string" then
    put_texts(value, following)
  else
    put_number(value, following)
  end
end

local function put_escaped(value, following)
  value = describe(value)
  if type(value) == "string" then
    put_html(value, following)
  else
    put_number(value, following)
  end
end

-- Several values are described before the first of them is put out.
local function put_each(put, following, ...)
  local count, values = select("#", ...), { ... }
  for i = 1, count do
    values[i] = describe(values[i])
  end
  for i = 1, count do
    put(values[i], "")
  end
  put_text(following)
end

local function put_values(...)
  if select("#", ...) == 1 then return put_value((...), "") end
  put_each(put_value, "", ...)
end

-- What `<?= ?>` and `<?& ?>` do with values. Pages can call these with anything, and put.rs must get texts.
local function echo(following, ...)
  if type(following) ~= "string" then following = tostring(describe(following)) end
  if select("#", ...) ~= 1 then return put_each(put_value, following, ...) end
  put_value((...), following)
end

local function escape(following, ...)
  if type(following) ~= "string" then following = tostring(describe(following)) end
  if select("#", ...) ~= 1 then return put_each(put_escaped, following, ...) end
  put_escaped((...), following)
end

local function put(text)
  if type(text) == "string" then
    put_text(text)
  else
    put_value(text, "")
  end
end

local function open(opener)
  local buffer = new_buffer(left_in(buffers[level]))
  level = level + 1
  buffers[level], openers[level] = buffer, opener
  use(buffer)
  return buffer
end

-- Drops the buffers above `to`.
local function drop(to)
  for i = level, to + 1, -1 do
    buffers[i], openers[i] = nil, nil
  end
  level = to
  use(buffers[to])
end

-- Moves the output above `to` down into it, in order.
local function settle(to)
  for i = level, to + 1, -1 do
    local text = text_of(buffers[i])
    use(buffers[i - 1])
    put_text(text)
  end
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
  while at > 0 and openers[at] == OB do
    at = at - 1
  end
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
  if buffer.is_larger(buffers[0], LARGEST_KEPT) then
    buffers[0] = new_buffer(buffers[0].most)
    use(buffers[0])
  else
    reset(buffers[0])
  end
end

local spare = new_buffer(huge)

-- What compiled pages know as `__plua`: a page could change the table, so the way to the output itself is not in it.
local for_pages
local function renew() for_pages = { put = put, echo = echo, escape = escape } end
renew()

return {
  -- See buffer.lua.
  marks = buffer.marks,
  address = buffer.address,
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
  -- So many bytes may be put out by each page from here on; 0 is no limit.
  limit = function(bytes)
    limit = bytes > 0 and bytes or huge
    allow(buffers[0], limit)
  end,
  -- Another light thread runs: what is open is kept with the one, and what the other had open is open again.
  switch = function(from, to)
    local own = buffers[0]
    from.buffers, from.openers, from.level = buffers, openers, level
    buffers, openers, level = to.buffers or {}, to.openers or {}, to.level or 0
    buffers[0] = own
    use(buffers[level])
  end,
  -- An error was caught where `at` buffers were open: what was being captured then has no use any more.
  unwind = function(at)
    for i = at + 1, level do
      if openers[i] ~= OB then return drop(i - 1) end
    end
  end,
  -- Nobody closes the captures and blocks any more that are open: what they and those above them hold is put out.
  leave_captures = function()
    for i = 1, level do
      if openers[i] ~= OB then return settle(i - 1) end
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
    use(spare)
    return contents_of(buffers[0])
  end,
  -- Moves everything into the page's own buffer.
  settle = function() settle(0) end,
  -- The page itself begins: what is open is not its own.
  begin_page = function() prepended = level end,
  -- Takes out what the page has put out and not sent. What comes next goes where the page itself began.
  take = function()
    settle(min(prepended, level))
    local taken = ""
    for at = 0, level do
      taken = taken .. text_of(buffers[at])
      reset(buffers[at])
    end
    return taken
  end,
  -- Rust is done with the contents; `kept` when they have not been sent, `more` bytes were beside them.
  sent = function(kept, more)
    if not kept then
      allow(buffers[0], left_in(buffers[0]) - (more or 0))
      clear()
    end
    use(buffers[level])
  end,
  reset = function()
    prepended = 0
    if level > 0 then
      drop(0)
    else
      use(buffers[0])
    end
    if buffers[0].most ~= limit then allow(buffers[0], limit) end
    reset(spare)
    clear()
  end,
  tidy = function()
    clear()
    use(buffers[0])
  end,
  -- What the page that waits has here, which is nothing to others until it is brought back.
  put_aside = function()
    local kept = { buffers = buffers, openers = openers, level = level, prepended = prepended, for_pages = for_pages }
    buffers, openers, level, prepended = idle or { [0] = new_buffer(limit) }, {}, 0, 0
    idle = nil
    use(buffers[0])
    return kept
  end,
  bring_back = function(kept)
    if level > 0 then drop(0) end
    clear()
    idle = buffers
    buffers, openers, level, prepended = kept.buffers, kept.openers, kept.level, kept.prepended
    for_pages = kept.for_pages
    use(buffers[level])
  end,
}
