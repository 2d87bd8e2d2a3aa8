-- Stores a payload in pieces: `payload`, `payload.2`, `payload.3`, …, each of at most SHORT_VALUE bytes. The hash of
-- a task with a payload of some hundred bytes then keeps Redis's compact encoding even with default settings: 610
-- bytes instead of 1,090.

function sw.piece_name(i)
    return i == 1 and 'payload' or 'payload.' .. i
end

function sw.pieces_of(value)
    local pieces = {}
    for from = 1, #value, SHORT_VALUE do pieces[#pieces + 1] = string.sub(value, from, from + SHORT_VALUE - 1) end
    return pieces
end

-- Joins the pieces of a payload in a task's hash (the reply of HGETALL), in place. Does nothing if there are no
-- pieces.
function sw.join_payload(fields)
    local size, pieces, kept = #fields, nil, 0
    for i = 1, size, 2 do
        local name = fields[i]
        local number = string.sub(name, 1, 8) == 'payload.' and tonumber(match(name, '^%d%d?%d?%d?$', 9))
        if number then
            pieces = pieces or {}
            pieces[number] = fields[i + 1]
        else
            fields[kept + 1], fields[kept + 2] = name, fields[i + 1]
            kept = kept + 2
        end
    end
    if not pieces then return end
    for i = kept + 1, size do fields[i] = nil end
    for i = 1, kept, 2 do
        if fields[i] == 'payload' then
            pieces[1] = fields[i + 1]
            -- If a piece is missing, what follows it is lost too.
            local last = 1
            while pieces[last + 1] do last = last + 1 end
            fields[i + 1] = table.concat(pieces, '', 1, last)
        end
    end
end
