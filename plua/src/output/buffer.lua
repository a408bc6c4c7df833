-- Buffers that output is collected in: memory that compiled code writes into where there is LuaJIT, else a table of pieces.
--
-- The chunk takes the functions written in Rust and returns what makes, fills and reads buffers. What is put goes into the
-- one in use. Texts are strings. Each buffer may hold `most` bytes: a page that puts out more is stopped.
local native = ...

local pcall, tostring = pcall, tostring
local find, format = string.find, string.format
local concat = table.concat
local huge = math.huge
local escape_html, go_over_output = native.escape_html, native.go_over_output

-- A number as it is put out. Whole ones have all their digits as far as they can be told from their neighbours, where
-- Lua's own shows 14 of them, and 5.4 a fraction of zero.
local MOST_EXACT = 2 ^ 53
local function shown(number)
  if number == 0 then return 1 / number < 0 and "-0" or "0" end
  if number % 1 == 0 and number <= MOST_EXACT and number >= -MOST_EXACT then return format("%.0f", number) end
  return tostring(number)
end

local function stop()
  go_over_output()
  -- It strikes here, or in a moment.
  while true do
  end
end

-- The buffer in use.
local current

local has_memory, string_buffer = pcall(require, "string.buffer")
if not has_memory then
  local function size_of(self)
    local bytes = self.bytes
    for i = self.counted + 1, self.n do
      bytes = bytes + #tostring(self[i])
    end
    self.counted, self.bytes = self.n, bytes
    return bytes
  end
  local function put(value)
    local self = current
    local n = self.n + 1
    self[n], self.n = value, n
    if self.most < huge and size_of(self) > self.most then stop() end
  end
  local function reset(self)
    for i = self.n, 1, -1 do
      self[i] = nil
    end
    self.n, self.counted, self.bytes = 0, 0, 0
  end
  local function contents_of(self) return concat(self, "", 1, self.n) end
  local function put_two(value, following)
    put(value)
    if following ~= "" then put(following) end
  end
  return {
    -- Here every page is begun anew.
    marks = { needs_reset = 1, at = 0, page = 0, composes = 0, may_wait = 0 },
    new = function(most) return { n = 0, counted = 0, bytes = 0, most = most } end,
    use = function(buffer) current = buffer end,
    reset = reset,
    allow = function(self, most) self.most = most end,
    left_in = function(self) return self.most < huge and self.most - size_of(self) or huge end,
    put_text = put,
    put_texts = put_two,
    put_number = function(number, following) put_two(shown(number), following) end,
    put_html = function(text, following)
      if find(text, "[&<>\"']") then text = escape_html(text) end
      put_two(text, following)
    end,
    is_larger = function() return false end,
    text_of = contents_of,
    contents_of = contents_of,
  }
end

-- LuaJIT's own buffer holds the memory, but each of its calls costs as much as ten short texts that are copied in place.
-- The `area` is that of the buffer in use: `at` bytes are written where `bytes` points, of `room` there; `turn` counts how
-- often the memory may have moved, or become another buffer's. It is no Lua table, so that functions of put.rs can read
-- and write it; the numbers in it cost no memory to read. There is one, known by a pointer, for LuaJIT makes that a
-- constant of compiled code, and looks nothing up to find it.
-- Beside them are the `marks` that each page looks at, in the same line of a processor's cache: `page` is the number of the
-- one that runs; `composes` is 1 once it is made of several files, `may_wait` once what is left to do at its end may wait.
-- `needs_reset` is 0 as long as the page has changed nothing but what is in the area: then Rust finds the output there, and
-- may call the next page itself. All else is marked by who does it; that the area is not where it was any more, by `settle`.
-- `before` bytes are handed to LuaJIT's buffer already; when there are none, it has `whole` bytes of room from `start` on.
-- `most` is looked at when memory is taken, so that a limit of the output costs nothing where text is put. What goes over
-- it by less than a long text's entities is found when memory is taken next, or when the page ends.
local ffi, tobit = require("ffi"), require("bit").tobit
local cast, copy, tonumber = ffi.cast, ffi.copy, tonumber
local max, min = math.max, math.min
local address = ffi.typeof("uintptr_t")
local area_memory = ffi.new("struct { uint8_t *bytes; int32_t at, room, turn, needs_reset, page, composes, may_wait; }")
local area = ffi.typeof("$ *", ffi.typeof(area_memory))(area_memory)
local longest_entity = native.longest_entity
-- They give 0 where there is no room, and then have done nothing.
local write_texts = cast("int32_t (*)(void *, const char *, size_t, const char *, size_t)", native.write_texts)
local write_number = cast("int32_t (*)(void *, int32_t, double, const char *, size_t)", native.write_number)
local write_html = cast("int32_t (*)(void *, const char *, size_t, const char *, size_t)", native.write_escaped_html)
local new_memory = string_buffer.new
local methods = new_memory()
local commit, reference, reserve, reset, text_in =
  methods.commit, methods.ref, methods.reserve, methods.reset, methods.tostring

-- Texts up to here are escaped in place, where room for the longest outcome is taken.
local LONG = 4096
local SLACK = longest_entity * LONG

local function settle()
  local at = area.at
  area.at, area.room, area.needs_reset = 0, 0, 1
  if at > 0 then
    local self = current
    self.before = self.before + at
    commit(self.memory, at)
  end
end

local function turn_over()
  local turn = tobit(area.turn + 1)
  area.turn = turn
  return turn
end

-- Taking memory can collect garbage, and so run a finalizer that puts something out and moves the memory again. No loop
-- looks for that here, nor below: LuaJIT compiles a page's loop only if there is none inside.
local function grow(more)
  settle()
  local self = current
  local left = self.most - self.before
  if left < 0 or more - left > SLACK then stop() end
  local turn = turn_over()
  -- From here on the memory may be elsewhere, whatever stops this.
  self.whole = 0
  local bytes, room = reserve(self.memory, more)
  if area.turn ~= turn then return grow(more) end
  area.bytes, area.room = bytes, min(room, max(left, more))
  if self.before == 0 then
    self.start, self.whole = bytes, room
  end
end

-- A short text that is known when the page is compiled becomes a few stores. What else is put is written by put.rs: the
-- stores of a longer one take more room than they gain time, for each process has compiled code of its own to read anew
-- when its turn comes.
local SHORT = 16
local function put_text(text)
  local length = #text
  if length > SHORT and write_texts(area, text, length, text, 0) ~= 0 then return end
  if area.at + length > area.room then grow(length) end
  local at, turn = area.at, area.turn
  local to = area.bytes + at
  -- What a finalizer puts out while the pointer is made comes first.
  if area.at ~= at or area.turn ~= turn then return put_text(text) end
  copy(to, text, length)
  area.at = at + length
end

local function put_texts(text, following)
  if write_texts(area, text, #text, following, #following) ~= 0 then return end
  put_text(text)
  put_text(following)
end

local function put_html(text, following)
  local length = #text
  if length > LONG then return put_texts(escape_html(text), following) end
  if write_html(area, text, length, following, #following) ~= 0 then return end
  grow(longest_entity * length + #following)
  return put_html(text, following)
end

-- Bytes that are in the area and not yet in LuaJIT's buffer.
local function in_area(self) return self == current and area.at or 0 end

return {
  -- Each call of a C function looks into a table that LuaJIT's collector knows by this library alone, and pages may be
  -- left without it. The pointer keeps no memory.
  kept = { ffi, area_memory },
  marks = area,
  address = tonumber(cast(address, area)),
  new = function(most) return { memory = new_memory(), start = area.bytes, whole = 0, before = 0, most = most } end,
  -- From here on all that is put goes there.
  use = function(self)
    settle()
    current = self
    turn_over()
  end,
  -- From here on the buffer may hold so many bytes.
  allow = function(self, most)
    if self == current then settle() end
    self.most = most
  end,
  left_in = function(self) return self.most - self.before - in_area(self) end,
  -- Whether it holds more bytes than that in memory which is kept for what comes next.
  is_larger = function(self, size) return self.before + in_area(self) > size end,
  reset = function(self)
    if self.before > 0 then
      self.before = 0
      reset(self.memory)
    end
    -- What was there before it was empty may be written again.
    if self == current then
      area.at, area.bytes, area.room = 0, self.start, min(self.whole, self.most)
    end
  end,
  put_text = put_text,
  -- These put out a value and the text that follows it, which may be empty.
  put_texts = put_texts,
  put_number = function(number, following)
    local whole = tobit(number)
    if whole == number and write_number(area, whole, number, following, #following) ~= 0 then return end
    put_texts(shown(number), following)
  end,
  put_html = put_html,
  text_of = function(self)
    if self == current then settle() end
    return text_in(self.memory)
  end,
  contents_of = function(self)
    if self == current then settle() end
    local pointer, length = reference(self.memory)
    return tonumber(cast(address, pointer)), length
  end,
}
