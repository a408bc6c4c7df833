-- The stores of the host as pages use them: plua.shared, and what it has under their names.
--
-- The chunk takes the functions written in Rust, those of Lua's that a page may have replaced before it first asks for a store, and
-- what waits for an event. It returns plua.shared, the functions of stores, and what stands for those of plua.cache and plua.session
-- if the host has them, which no page gets.
local native, lua, wait_for_event = ...

local error, set_metatable, tostring, type = lua.error, lua.set_metatable, lua.tostring, lua.type
local huge = lua.huge
local stores = native.open_stores()
local numbers_by_name = stores.numbers

-- Stores on a Redis have functions of their own, and the page waits for what those give.
local of_redis = stores.of_redis
if of_redis then
  local finish, abandon, is_on_redis = of_redis.finish, of_redis.abandon, of_redis.numbers

  local function settled(ok, result, ...)
    if ok ~= nil then return ok, result, ... end
    local asked = ...
    wait_for_event(result, nil, "plua.shared", abandon, asked, true)
    return settled(finish(asked))
  end

  for name, run in lua.next, of_redis.functions do
    local of_memory = stores[name]
    stores[name] = function(number, ...)
      if is_on_redis[number] then return settled(run(number, ...)) end
      return of_memory(number, ...)
    end
  end
end

-- Keys that are listed where a page does not say how many.
local MOST_KEYS = 1024

-- The numbers of stores by what stands for them. That is no table: nothing that a page writes there would stay.
local numbers = {}

local function object(metatable)
  local made = stores.object()
  native.shielded[metatable] = true
  set_metatable(made, metatable)
  return made
end

local methods = {}

-- The store that a method is called on, and the key as text.
local function called_on(store, key, name)
  local number = numbers[store]
  if not number then error("call " .. name .. " with a colon: plua.shared.NAME:" .. name .. "()", 3) end
  local kind = type(key)
  if kind == "string" then return number, key end
  if kind == "number" then return number, tostring(key) end
  error("bad argument #1 to '" .. name .. "' (string expected, got " .. kind .. ")", 3)
end

-- A number as a double beside it: what Rust is told of a whole one lacks a zero's sign.
local function double(value) return type(value) == "number" and value or nil end

local function seconds(position, value, name)
  if value == nil then return nil end
  -- NaN is not 0 or above it either.
  local fits = type(value) == "number" and value >= 0
  if not fits then
    error("bad argument #" .. position .. " to '" .. name .. "' (seconds from 0 on expected; 0 is for ever)", 3)
  end
  return value < huge and value or nil
end

-- A function of one key, whose result is the page's.
local function of_key(name, run)
  methods[name] = function(store, key)
    local number, text = called_on(store, key, name)
    local ok, result = run(number, text)
    if not ok then error(result, 2) end
    return result
  end
end
of_key("get", stores.get)
of_key("delete", stores.delete)
of_key("len", stores.length)

function methods.set(store, key, value, ttl)
  local number, text = called_on(store, key, "set")
  local time = seconds(3, ttl, "set")
  local ok, message
  if value == nil then
    ok, message = stores.delete(number, text)
  else
    ok, message = stores.put(number, text, value, double(value), time, 0)
  end
  if not ok then error(message, 2) end
end

for name, condition in lua.next, { add = 1, replace = 2 } do
  methods[name] = function(store, key, value, ttl)
    local number, text = called_on(store, key, name)
    if value == nil then error("bad argument #2 to '" .. name .. "' (value expected)", 2) end
    local ok, was_put = stores.put(number, text, value, double(value), seconds(3, ttl, name), condition)
    if not ok then error(was_put, 2) end
    return was_put
  end
end

function methods.incr(store, key, by, initial, ttl)
  local number, text = called_on(store, key, "incr")
  if by == nil then by = 1 end
  if type(by) ~= "number" then error("bad argument #2 to 'incr' (number expected, got " .. type(by) .. ")", 2) end
  if initial ~= nil and type(initial) ~= "number" then
    error("bad argument #3 to 'incr' (number expected, got " .. type(initial) .. ")", 2)
  end
  local ok, sum = stores.increment(number, text, by, by, initial, initial, seconds(4, ttl, "incr"))
  if not ok then error(sum, 2) end
  return sum
end

function methods.ttl(store, key)
  local number, text = called_on(store, key, "ttl")
  local ok, left = stores.lifetime(number, text)
  if not ok then error(left, 2) end
  if left == true then return huge end
  return left
end

function methods.expire(store, key, ttl)
  local number, text = called_on(store, key, "expire")
  local ok, was_there = stores.expire(number, text, seconds(2, ttl, "expire"))
  if not ok then error(was_there, 2) end
  return was_there
end

for name, at_end in lua.next, { push = true, unshift = false } do
  methods[name] = function(store, key, value)
    local number, text = called_on(store, key, name)
    if value == nil then error("bad argument #2 to '" .. name .. "' (value expected)", 2) end
    local ok, length = stores.push(number, text, value, double(value), at_end)
    if not ok then error(length, 2) end
    return length
  end
end

for name, at_end in lua.next, { pop = true, shift = false } do
  methods[name] = function(store, key)
    local number, text = called_on(store, key, name)
    local ok, item = stores.take(number, text, at_end)
    if not ok then error(item, 2) end
    return item
  end
end

function methods.keys(store, most)
  local number = called_on(store, "", "keys")
  if most == nil then most = MOST_KEYS end
  local fits = type(most) == "number" and most >= 1
  if not fits then error("bad argument #1 to 'keys' (a number from 1 on expected)", 2) end
  local found, count = {}, 0
  -- A Redis may list a key twice.
  local seen = of_redis and {}
  local part, list
  repeat
    local ok, keys
    ok, keys, part, list = stores.keys(number, part, list)
    if not ok then error(keys, 2) end
    for i = 1, #keys do
      local key = keys[i]
      if count >= most then break end
      if not (seen and seen[key]) then
        count = count + 1
        found[count] = key
        if seen then seen[key] = true end
      end
    end
  until not part or count >= most
  return found
end

function methods.clear(store)
  local ok, message = stores.clear((called_on(store, "", "clear")))
  if not ok then error(message, 2) end
end

function methods.info(store)
  local ok, told = stores.information((called_on(store, "", "info")))
  if not ok then error(told, 2) end
  return told
end

-- With LuaJIT what pages do most is called from compiled code, without a string or a table made for it. What such a call does not
-- know it leaves as it is; then the function above is called, which says so.
local ffi, handles = lua.ffi, {}
if ffi then
  local answer = ffi.new("struct { double number; uint32_t length; uint8_t bytes[?]; }", stores.most_bytes)
  local new_text = ffi.string
  local compiled_get = ffi.cast("int32_t (*)(void *, const char *, size_t, void *)", stores.compiled_get)
  local compiled_put = ffi.cast(
    "int32_t (*)(void *, const char *, size_t, int32_t, double, const char *, size_t, double, int32_t)",
    stores.compiled_put
  )
  local compiled_increment =
    ffi.cast("int32_t (*)(void *, const char *, size_t, double, double, int32_t, double, void *)", stores.compiled_increment)
  local get, set, incr = methods.get, methods.set, methods.incr

  function methods.get(store, key)
    local handle = handles[store]
    if handle and type(key) == "string" then
      local kind = compiled_get(handle, key, #key, answer)
      if kind == 4 then return new_text(answer.bytes, answer.length) end
      if kind == 3 then return answer.number end
      if kind == 0 then return nil end
      if kind == 2 then return true end
      if kind == 1 then return false end
      if kind == 5 then
        local ok, value = stores.decode(numbers[store], key, new_text(answer.bytes, answer.length))
        if not ok then error(value, 2) end
        return value
      end
    end
    return get(store, key)
  end

  -- Whether a value was put; nothing where that is not known.
  local function put(store, key, value, ttl, condition)
    local handle = handles[store]
    if not handle or type(key) ~= "string" then return end
    if ttl == nil then
      ttl = 0
    elseif type(ttl) ~= "number" or not (ttl >= 0 and ttl < huge) then
      return
    end
    local kind = type(value)
    local done = -1
    if kind == "string" then
      done = compiled_put(handle, key, #key, 2, 0, value, #value, ttl, condition)
    elseif kind == "number" then
      done = compiled_put(handle, key, #key, 1, value, "", 0, ttl, condition)
    elseif kind == "boolean" then
      done = compiled_put(handle, key, #key, 0, value and 1 or 0, "", 0, ttl, condition)
    end
    if done == 1 then return true end
    if done == 0 then return false end
  end

  function methods.set(store, key, value, ttl)
    if put(store, key, value, ttl, 0) == nil then return set(store, key, value, ttl) end
  end

  for name, condition in lua.next, { add = 1, replace = 2 } do
    local run = methods[name]
    methods[name] = function(store, key, value, ttl)
      local was_put = put(store, key, value, ttl, condition)
      if was_put == nil then return run(store, key, value, ttl) end
      return was_put
    end
  end

  function methods.incr(store, key, by, initial, ttl)
    local handle = handles[store]
    if handle and type(key) == "string" and type(by) == "number" and ttl == nil then
      local has_initial = type(initial) == "number"
      if has_initial or initial == nil then
        local done =
          compiled_increment(handle, key, #key, by, has_initial and initial or 0, has_initial and 1 or 0, 0, answer)
        if done == 1 then return answer.number end
        if done == 0 then return nil end
      end
    end
    return incr(store, key, by, initial, ttl)
  end
end

local function new_store(title, number)
  local store = object({
    __index = methods,
    __newindex = function() error(title .. " has functions: " .. title .. ":set(key, value)", 2) end,
    __metatable = false,
    __name = "plua.shared",
    __tostring = function() return title end,
  })
  numbers[store] = number
  -- Compiled code knows how to hand over a pointer, but not how to make one of what Rust has given.
  -- Stores on a Redis have none.
  local handle = ffi and stores.handles[number + 1]
  if handle then handles[store] = ffi.cast("void *", handle) end
  return store
end

-- Those that a page has asked for, by name.
local made = {}

local shared = object({
  __index = function(_, name)
    local store = made[name]
    if store then return store end
    if numbers_by_name[name] == nil then
      error("the host has no store '" .. tostring(name) .. "': declare it with pLuaShared", 2)
    end
    store = new_store("plua.shared." .. name, numbers_by_name[name])
    made[name] = store
    return store
  end,
  __newindex = function() error("stores are declared with pLuaShared", 2) end,
  __metatable = false,
  __name = "plua.shared",
  __tostring = function() return "plua.shared" end,
})

return {
  shared = shared,
  methods = methods,
  native = stores,
  of_cache = stores.cache and new_store("plua.cache", stores.cache),
  of_sessions = stores.sessions and new_store("plua.session", stores.sessions),
}
