-- Takes a lock away that is its owner's still: 1 where it was, or 0.
--
-- ARGV: what the owner has put there.
if redis.call("GET", KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call("DEL", KEYS[1])
