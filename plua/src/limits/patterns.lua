-- The pattern limit: string.find, match, gmatch and gsub that look at how long a call may take before they make it.
--
-- Lua's own functions cannot be interrupted. A call whose worst case is under the limit is made at once; for any other
-- Rust walks the pattern first, step by step, as Lua would.
--
-- The chunk takes the functions written in Rust, and returns what sets the limit.
local native = ...

local error, find, gsub, pcall, type = error, string.find, string.gsub, pcall, type
local pattern_ends, plain_find = native.pattern_ends, native.plain_find

local limit = 0

-- For each pattern: the power of the subject's length that bounds the steps, and the factor before it. No power is for
-- plain text.
local powers, factors, known = {}, {}, 0
local MOST_KNOWN = 1000

-- A number below this is the same to all.
local MOST_PLAIN = 2 ^ 31

local function look_at(pattern)
  if known >= MOST_KNOWN then
    powers, factors, known = {}, {}, 0
  end
  known = known + 1
  if not find(pattern, "[%^%$%*%+%?%.%(%[%%%-]") then
    powers[pattern], factors[pattern] = false, #pattern
    return false
  end
  local _, repeated = gsub(pattern, "[*+-]", "")
  local _, optional = gsub(pattern, "?", "")
  local _, sets = gsub(pattern, "%[", "")
  local _, walks = gsub(pattern, "%%[b0-9]", "")
  local length = #pattern + 1
  powers[pattern] = repeated + walks + 1
  factors[pattern] = length * (sets > 0 and 1 + length / 8 or 1) * 2 ^ optional
  return powers[pattern]
end

-- Where a search begins, as Lua's own would find it: each makes something else of numbers that no integer of C's can be.
-- An empty text is found at once. Nothing where Lua's own raises an error.
local function begin(subject, start)
  if type(start) == "number" and start > -MOST_PLAIN and start < MOST_PLAIN and start % 1 == 0 then return start end
  local fine, found = pcall(find, subject, "", start, true)
  return fine and (found or #subject + 2)
end

local function limited(name, run)
  return function(subject, pattern, third, fourth)
    if limit > 0 then
      if type(subject) == "number" then subject = subject .. "" end
      if type(pattern) == "number" then pattern = pattern .. "" end
      if type(subject) == "string" and type(pattern) == "string" then
        local power = powers[pattern]
        if power == nil then power = look_at(pattern) end
        local number = third
        if name == "gsub" then
          number = fourth
        elseif name ~= "gmatch" and third ~= nil then
          number = begin(subject, third)
          if not number then
            if type(third) ~= "number" then return run(subject, pattern, third, fourth) end
            error("bad argument #3 to '" .. name .. "' (number has no integer representation)", 2)
          end
        end
        if name == "find" and (fourth or not power) then
          if #subject * #pattern > limit then
            local first = plain_find(subject, pattern, number)
            if first then return first, first + #pattern - 1 end
            return nil
          end
        elseif (#subject + 1) ^ (power or 1) * factors[pattern] > limit then
          local why = pattern_ends(name, subject, pattern, number, limit)
          if why == "time" then error("string." .. name .. " would take longer than the page may (pLuaTimeout)", 2) end
          if why then error("string." .. name .. " takes more than " .. limit .. " steps (pLuaPatternLimit)", 2) end
        end
      end
    end
    return run(subject, pattern, third, fourth)
  end
end

local string = string
local installed = false

-- So many steps from here on; 0 is no limit.
return function(steps)
  limit = steps
  if installed or steps == 0 then return end
  installed = true
  for _, name in next, { "find", "match", "gmatch", "gsub" } do
    if string[name] then string[name] = limited(name, string[name]) end
  end
end
