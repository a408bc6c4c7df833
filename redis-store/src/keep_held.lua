-- Lets a lock stay that is its owner's still: 1 where it was, or 0.
--
-- ARGV: what the owner has put there, and the lock's time in milliseconds from now on.
if redis.call("GET", KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call("PEXPIRE", KEYS[1], ARGV[2])
