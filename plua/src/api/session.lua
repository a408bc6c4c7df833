-- What the requests of one visitor have in common (plua.session): values by name, in a store, under an id that a cookie has.
--
-- The chunk takes functions written in Rust, those of Lua's that a page may have replaced by now, the natives of stores, the
-- store of sessions, its functions, and functions of the page: those it waits with, what runs at its end, and what it asks of the
-- request. It returns plua.session, what forgets the page before, and what exchanges the session of one page for
-- that of another.
local native, lua, stores, store, methods, of_page = ...

local error, next, set_metatable, type = lua.error, lua.next, lua.set_metatable, lua.type
local sleep, before_wait, seconds_since_start = of_page.sleep, of_page.before_wait, native.seconds_since_start
local get, set, add, delete, expire = methods.get, methods.set, methods.add, methods.delete, methods.expire
local request = native.open_session()
local number = stores.sessions

-- Seconds that a lock is its owner's where none takes it back, those at most for a page that keeps it while it waits too, and those
-- before its end in which its owner takes it for lost: another may be about to have it.
local LEASE, LONG_LEASE, MARGIN = 30, 600, 5

-- Seconds a page waits for another one of the visitor's, and those between two looks.
local LONGEST_WAIT = 10
local SHORTEST, LONGEST = 0.001, 0.1

-- Seconds for which is known that a session has got another id.
local TOLD = 10

-- What was read where nothing is.
local ABSENT = {}

-- What the running page has of its session: nothing until it asks.
local current

-- Pages that change what they have read, by their paths.
local writers = {}

local function answered(ok, first, second)
  if not ok then error(first, 0) end
  return first, second
end

local function busy(message) error(answered(request.busy("plua.session: " .. message)), 0) end

-- A value as a session keeps it: a table as its bytes, in a table of its own.
local function kept(name, value)
  local kind = type(value)
  if kind == "table" then return { answered(stores.encode(number, name, value)) } end
  if value == nil or kind == "boolean" or kind == "number" or kind == "string" or value == lua.null then return value end
  error("plua.session: '" .. name .. "': a " .. kind .. " cannot be stored", 0)
end

local function is_same(one, other)
  if one == nil then one = ABSENT end
  if other == nil then other = ABSENT end
  if type(one) == "table" and type(other) == "table" and one ~= ABSENT and other ~= ABSENT then return one[1] == other[1] end
  return one == other or (one ~= one and other ~= other)
end

-- What the store has of the session; nothing where there is none, or its time is over.
local function stored(page)
  local record = get(store, "s" .. page.key)
  if not record then return nil end
  if record.moved then busy("the session has got another id meanwhile: the next request has it") end
  page.left = record.created + request.longest - request.now()
  if page.left <= 0 then return nil end
  return record
end

local function adopt(page, record)
  page.version, page.created, page.token = record.version, record.created, record.token
  page.values, page.flashes, page.is_stale = record.values, record.flashes, false
end

local function shorter(left) return left < request.idle and left or request.idle end

-- Whether pages of this path change what they have read: it has been seen, or the page looks so.
local function is_writer(page)
  local path = answered(request.script(false))
  page.path = path
  local known = writers[path]
  if known then return true end
  if get(store, "w" .. request.key(path)) then
    known = true
  elseif known == nil then
    local _, looks_so = answered(request.script(true))
    known = looks_so
  end
  writers[path] = known
  return known
end

local finish

local function finish_at_end(page)
  if page.finishes then return end
  page.finishes = true
  of_page.at_end(function()
    page.finishes = false
    finish()
  end)
end

local function holds(page) return page.lock and seconds_since_start() < page.lock_ends - MARGIN end

-- Waits until no other request may write to the session, and takes care that the page's end lets others. Whether the lock is new.
local function lock(page)
  if holds(page) then return false end
  page.lock = nil
  local token = request.new_token()
  local until_then, pause = seconds_since_start() + LONGEST_WAIT, SHORTEST
  while not add(store, "l" .. page.key, token, LEASE) do
    local owner = get(store, "l" .. page.key)
    -- Of those that find a killed owner, one takes its lock away.
    if owner and request.is_gone(owner) and add(store, "d" .. owner, true, 2 * LEASE) then
      delete(store, "l" .. page.key)
    elseif seconds_since_start() >= until_then then
      busy("another request of the same visitor has held the session for " .. LONGEST_WAIT .. " seconds")
    else
      sleep(pause)
      pause = pause * 1.5 < LONGEST and pause * 1.5 or LONGEST
      -- Another light thread of the page may have it by now.
      if page.lock then return false end
    end
  end
  page.lock, page.lock_ends = token, seconds_since_start() + LEASE
  finish_at_end(page)
  before_wait(finish)
  return true
end

local function unlock(page)
  before_wait(nil)
  if holds(page) then answered(stores.release(number, "l" .. page.key, page.lock)) end
  page.lock, page.keeper = nil, nil
end

local function give_up(page, what)
  page.is_changed, page.given = false, {}
  unlock(page)
  busy("another request has changed " .. what .. " since this page has read it")
end

-- Before a change: nobody else makes one meanwhile, and what the page has read is still so.
local function lock_to_write(page)
  if lock(page) then
    if page.has_read and not writers[page.path] then
      writers[page.path] = true
      set(store, "w" .. request.key(page.path), true)
    end
    local record = stored(page)
    if not record then
      unlock(page)
      busy("the session has ended meanwhile")
    end
    if record.version ~= page.version then
      -- Only a page that has lost its lock has changes left here.
      if page.is_changed then give_up(page, "the session") end
      adopt(page, record)
    end
  end
  for name, seen in next, page.read do
    if not is_same(page.values[name], seen) then give_up(page, "'" .. name .. "'") end
  end
end

-- The session of the running page, with what the store has of it.
local function opened()
  local page = current
  -- Whatever page comes next is another visitor's.
  of_page.marks.needs_reset = 1
  if not page then
    local id = answered(request.id())
    page = { id = id, key = id and request.key(id), values = {}, flashes = {}, read = {}, given = {}, version = 0 }
    page.is_stale, current = id ~= nil, page
    page.is_writer = id and is_writer(page)
  end
  if page.is_stale and page.key then
    if page.is_writer and stored(page) then lock(page) end
    local record = stored(page)
    if record then
      adopt(page, record)
      if not page.is_seen then
        page.is_seen = true
        expire(store, "s" .. page.key, shorter(page.left))
        answered(request.keep_private())
      end
    else
      if page.lock then unlock(page) end
      page.id, page.key, page.is_stale, page.values, page.flashes = nil, nil, false, {}, {}
    end
  end
  return page
end

local function send_id(page, what)
  if not answered(request.send(page.id)) then
    error("plua.session: " .. what .. " comes too late: it is told by a cookie, and the response is being sent", 0)
  end
end

-- Begins one for a visitor who has none.
local function begin(page)
  page.id = request.new_id()
  send_id(page, "its beginning")
  page.path = page.path or answered(request.script(false))
  page.key, page.created, page.version, page.is_changed, page.is_seen = request.key(page.id), request.now(), 0, true, true
  page.left = request.longest
  answered(request.keep_private())
  lock(page)
end

-- The same, with the right to change it.
local function opened_and_held()
  local page = opened()
  if not page.key then
    begin(page)
  else
    lock_to_write(page)
  end
  return page
end

-- The same, for a change.
local function opened_to_write()
  local page = opened_and_held()
  page.is_changed = true
  return page
end

-- Puts the session into the store. One that is not new is put only while the lock is the page's: what comes late over a network
-- is not to overwrite what another request has put meanwhile.
local function save(page, is_new)
  page.version, page.is_changed = page.version + 1, false
  local record = {
    version = page.version,
    created = page.created,
    token = page.token,
    values = page.values,
    flashes = page.flashes,
  }
  if is_new then
    set(store, "s" .. page.key, record, shorter(page.left))
  else
    local key, lock_key, seconds = "s" .. page.key, "l" .. page.key, shorter(page.left)
    if not answered(stores.put_held(number, key, record, nil, seconds, lock_key, page.lock)) then
      give_up(page, "the session")
    end
  end
end

-- Puts what has changed into the store, and lets others write: at the page's end, and before it waits.
function finish()
  local page = current
  if not page or not page.key then return end
  local problem
  for name, given in next, page.given do
    local ok, bytes = stores.encode(number, name, given.table)
    if not ok then
      problem = bytes
    elseif bytes ~= given.bytes then
      lock_to_write(page)
      page.values[name], page.read[name] = { bytes }, nil
      given.bytes, given.stored, page.is_changed = bytes, bytes, true
    end
  end
  if page.is_changed then
    -- A new one is nobody else's yet.
    local is_new = page.version == 0
    if not is_new then lock_to_write(page) end
    save(page, is_new)
  end
  if page.lock then unlock(page) end
  page.is_stale = true
  if problem then error(problem, 0) end
end

-- The value under a name, of those that are kept.
local function value_of(name, value)
  if type(value) ~= "table" then return value end
  return answered(stores.decode(number, name, value[1]))
end

local session = {}

function session.regenerate()
  local page = opened()
  if not page.key then return begin(page) end
  lock_to_write(page)
  local id, key = page.id, page.key
  page.id = request.new_id()
  if not answered(request.send(page.id)) then
    page.id = id
    send_id(page, "another id")
  end
  page.key, page.token = request.key(page.id), nil
  save(page, true)
  -- Those that come with the other one are told to come again.
  set(store, "s" .. key, { moved = true }, TOLD)
  local new_key = page.key
  page.key = key
  unlock(page)
  page.key = new_key
  lock(page)
end

function session.destroy()
  local page = opened()
  if not page.key then return end
  lock_to_write(page)
  delete(store, "s" .. page.key)
  unlock(page)
  page.id, page.key, page.token, page.is_changed = nil, nil, nil, false
  page.values, page.flashes, page.read, page.given = {}, {}, {}, {}
  answered(request.send(nil))
end

function session.lock()
  local page = opened_and_held()
  page.keeper = answered(stores.keep_held(number, "l" .. page.key, page.lock, LEASE, LONG_LEASE))
  if not page.keeper then give_up(page, "the session") end
  page.lock_ends = seconds_since_start() + LONG_LEASE
  before_wait(nil)
end

local function check_name(name, position)
  if type(name) == "string" then return end
  error("bad argument #" .. position .. " to 'flash' (string expected, got " .. type(name) .. ")", 3)
end

function session.flash(_, name, ...)
  check_name(name, 1)
  if lua.select("#", ...) > 0 then
    local value = kept(name, (...))
    opened_to_write().flashes[name] = value
    return
  end
  if opened().flashes[name] == nil then return nil end
  local page = opened_to_write()
  local value = page.flashes[name]
  page.flashes[name] = nil
  return value_of(name, value)
end

function session.csrf()
  local page = opened()
  if not page.token then
    page = opened_to_write()
    -- Another request may have made one meanwhile.
    page.token = page.token or request.new_id()
  end
  return page.token
end

function session.csrfField(called_on) return '<input type="hidden" name="csrf" value="' .. session.csrf(called_on) .. '">' end

function session.verify(_, token)
  if token == nil then token = of_page.post("csrf") or of_page.headers()["X-CSRF-Token"] end
  local known = opened().token
  return known ~= nil and type(token) == "string" and of_page.is_equal(known, token)
end

local function value_at(page, name)
  local value = page.values[name]
  page.has_read = true
  page.read[name] = value == nil and ABSENT or value
  if type(value) ~= "table" then return value end
  local given = page.given[name]
  if given and given.stored == value[1] then return given.table end
  local decoded = value_of(name, value)
  -- What the page does to it is seen by the bytes it has at its end.
  finish_at_end(page)
  page.given[name] = { table = decoded, stored = value[1], bytes = answered(stores.encode(number, name, decoded)) }
  return decoded
end

function session.values()
  local page, all = opened(), {}
  for name in next, page.values do
    all[name] = value_at(page, name)
  end
  return all
end

local object = stores.object()
local metatable = { __metatable = false, __name = "plua.session", __tostring = function() return "plua.session" end }

-- Methods are told what they are called on.
local bound = {}
for name, run in next, session do
  bound[name] = function(called_on, ...)
    if called_on ~= object then error("call " .. name .. " with a colon: plua.session:" .. name .. "()", 2) end
    return run(called_on, ...)
  end
end

function metatable.__index(_, name)
  if bound[name] then return bound[name] end
  if name == "id" then
    local page = opened()
    if not page.key then begin(page) end
    return page.id
  end
  if type(name) ~= "string" then return nil end
  return value_at(opened(), name)
end

function metatable.__newindex(_, name, value)
  if type(name) ~= "string" then error("plua.session has values by name: a string is expected, not a " .. type(name), 2) end
  if bound[name] or name == "id" then
    error("plua.session." .. name .. " is a function of sessions: give the value another name", 2)
  end
  local to_keep = kept(name, value)
  local page = opened_to_write()
  page.values[name], page.read[name] = to_keep, nil
  page.given[name] = type(value) == "table" and { table = value, stored = to_keep[1], bytes = to_keep[1] } or nil
end

native.shielded[metatable] = true
set_metatable(object, metatable)

return object,
  function() current = nil end,
  -- Exchanges the session of the page for that of another, and gives it.
  function(of_other)
    local before = current
    current = of_other
    return before
  end
