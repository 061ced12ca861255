-- A node that has put everything back goes. With receipts left the key refuses it: recovery's business.
-- $1 incarnation: its id
-- on: session
DELETE FROM rota.incarnation WHERE id = $1::integer
