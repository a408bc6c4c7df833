-- Puts a value while a lock is its owner's: whether it was.
--
-- KEYS: the value's and the lock's. ARGV: the value, its time in milliseconds or nothing, and what the lock's owner has put there.
if redis.call("GET", KEYS[2]) ~= ARGV[3] then return 0 end
if ARGV[2] == "" then
  redis.call("SET", KEYS[1], ARGV[1])
else
  redis.call("SET", KEYS[1], ARGV[1], "PX", ARGV[2])
end
return 1
