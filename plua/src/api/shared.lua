-- The stores of the host as pages use them: plua.shared, and what it has under their names.
--
-- The chunk takes the functions written in Rust and those of Lua's that a page may have replaced before it first asks for a
-- store. It returns plua.shared.
local native, lua = ...

local error, set_metatable, tostring, type = lua.error, lua.set_metatable, lua.tostring, lua.type
local huge = lua.huge
local stores = native.open_stores()
local numbers_by_name = stores.numbers

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
  local part, list
  repeat
    local ok, keys
    ok, keys, part, list = stores.keys(number, part, list)
    if not ok then error(keys, 2) end
    for i = 1, #keys do
      if count >= most then break end
      count = count + 1
      found[count] = keys[i]
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

local function new_store(name)
  local title = "plua.shared." .. name
  local store = object({
    __index = methods,
    __newindex = function() error(title .. " has functions: " .. title .. ":set(key, value)", 2) end,
    __metatable = false,
    __name = "plua.shared",
    __tostring = function() return title end,
  })
  numbers[store] = numbers_by_name[name]
  return store
end

-- Those that a page has asked for, by name.
local made = {}

return object({
  __index = function(_, name)
    local store = made[name]
    if store then return store end
    if numbers_by_name[name] == nil then
      error("the host has no store '" .. tostring(name) .. "': declare it with pLuaShared", 2)
    end
    store = new_store(name)
    made[name] = store
    return store
  end,
  __newindex = function() error("stores are declared with pLuaShared", 2) end,
  __metatable = false,
  __name = "plua.shared",
  __tostring = function() return "plua.shared" end,
})
