-- Buffers that output is collected in: memory that compiled code writes into where there is LuaJIT, else a table of pieces.
--
-- The chunk takes the functions written in Rust and returns what makes, fills and reads buffers. Texts are strings. Each
-- buffer may hold `most` bytes: a page that puts out more is stopped.
local native = ...

local pcall, setmetatable, tostring = pcall, setmetatable, tostring
local find = string.find
local concat = table.concat
local huge = math.huge
local escape_html, go_over_output = native.escape_html, native.go_over_output

local function stop()
  go_over_output()
  -- It strikes here, or in a moment.
  while true do end
end

local buffer = {}
buffer.__index = buffer

local has_memory, string_buffer = pcall(require, "string.buffer")
if not has_memory then
  local function size_of(self)
    local bytes = self.bytes
    for i = self.counted + 1, self.n do bytes = bytes + #tostring(self[i]) end
    self.counted, self.bytes = self.n, bytes
    return bytes
  end
  local function put(self, value)
    local n = self.n + 1
    self[n], self.n = value, n
    if self.most < huge and size_of(self) > self.most then stop() end
  end
  function buffer:reset()
    for i = self.n, 1, -1 do self[i] = nil end
    self.n, self.counted, self.bytes = 0, 0, 0
  end
  local function contents_of(self) return concat(self, "", 1, self.n) end
  return {
    new = function(most) return setmetatable({ n = 0, counted = 0, bytes = 0, most = most }, buffer) end,
    allow = function(self, most) self.most = most end,
    left_in = function(self) return self.most < huge and self.most - size_of(self) or huge end,
    put_text = put,
    put_number = put,
    put_html = function(self, text)
      if find(text, "[&<>\"']") then text = escape_html(text) end
      put(self, text)
    end,
    is_larger = function() return false end,
    text_of = contents_of,
    contents_of = contents_of,
  }
end

-- LuaJIT's own buffer holds the memory, but each of its calls costs as much as ten short texts that are copied in place.
-- `at` bytes are written where `bytes` points, of `room` there; `before` are handed to LuaJIT's buffer already. `turn`
-- counts how often the memory may have moved. `most` is looked at when memory is taken, so that a limit of the output
-- costs nothing where text is put. What goes over it by less than a long text's entities is found when memory is taken
-- next, or when the page ends.
local ffi, tobit = require("ffi"), require("bit").tobit
local cast, copy, tonumber = ffi.cast, ffi.copy, tonumber
local max, min = math.max, math.min
local address, nowhere = ffi.typeof("uintptr_t"), cast("uint8_t *", 0)
local longest_entity, longest_integer = native.longest_entity, native.longest_integer
local write_escaped = cast("double (*)(const char *, size_t, uint8_t *)", native.write_escaped_html)
local write_integer = cast("int32_t (*)(int32_t, uint8_t *)", native.write_integer)
local new_memory = string_buffer.new
local methods = new_memory()
local commit, reference, reserve, reset, text_in =
  methods.commit, methods.ref, methods.reserve, methods.reset, methods.tostring

-- Texts up to here are escaped in place, where room for the longest outcome is taken.
local LONG = 4096
local SLACK = longest_entity * LONG

local function settle(self)
  local at = self.at
  self.at, self.room = 0, 0
  if at > 0 then
    self.before = self.before + at
    commit(self.memory, at)
  end
end

-- Taking memory can collect garbage, and so run a finalizer that puts something out and moves the memory again. No loop
-- looks for that here, nor below: LuaJIT compiles a page's loop only if there is none inside.
local function grow(self, more)
  settle(self)
  local left = self.most - self.before
  if left < 0 or more - left > SLACK then stop() end
  local turn = self.turn + 1
  self.turn = turn
  local bytes, room = reserve(self.memory, more)
  if self.turn ~= turn then return grow(self, more) end
  self.bytes, self.room = bytes, min(room, max(left, more))
  if self.before == 0 then self.start, self.whole, self.start_turn = bytes, room, turn end
end

-- Where so many bytes may be written, and how many are written before them. They count once `at` says so.
local function place(self, length)
  if self.at + length > self.room then grow(self, length) end
  local at, turn = self.at, self.turn
  local to = self.bytes + at
  -- What a finalizer puts out while the pointer is made comes first.
  if self.at ~= at or self.turn ~= turn then return place(self, length) end
  return to, at
end

local function put_text(self, text)
  local length = #text
  local to, at = place(self, length)
  copy(to, text, length)
  self.at = at + length
end

local function contents_of(self)
  settle(self)
  local pointer, length = reference(self.memory)
  return tonumber(cast(address, pointer)), length
end

-- What was there before it is empty may be written again.
function buffer:reset()
  reset(self.memory)
  self.at, self.before, self.room = 0, 0, 0
  if self.start_turn == self.turn then self.bytes, self.room = self.start, min(self.whole, self.most) end
end

return {
  new = function(most)
    local made = {
      memory = new_memory(), bytes = nowhere, at = 0, room = 0, before = 0, turn = 0, start_turn = -1, most = most,
    }
    return setmetatable(made, buffer)
  end,
  -- From here on the buffer may hold so many bytes.
  allow = function(self, most)
    settle(self)
    self.most = most
  end,
  left_in = function(self) return self.most - self.before - self.at end,
  -- Whether it holds more bytes than that in memory which is kept for what comes next.
  is_larger = function(self, size) return self.before + self.at > size end,
  put_text = put_text,
  put_number = function(self, number)
    local whole = tobit(number)
    if whole == number and (whole ~= 0 or 1 / number > 0) then
      local to, at = place(self, longest_integer)
      self.at = at + write_integer(whole, to)
    else
      put_text(self, tostring(number))
    end
  end,
  put_html = function(self, text)
    local length = #text
    if length > LONG then return put_text(self, escape_html(text)) end
    local to, at = place(self, longest_entity * length)
    self.at = at + write_escaped(text, length, to)
  end,
  text_of = function(self)
    settle(self)
    return text_in(self.memory)
  end,
  contents_of = contents_of,
}
