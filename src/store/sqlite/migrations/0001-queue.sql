-- The queue: messages, their bodies, their recipients, what still has to be tried, and what was tried.
-- Times are milliseconds since 1970. Read this file with plain sqlite3: the views at the end put it in words.
--
-- A message's entries have consecutive numbers, and so have its recipients: a row names the first one and how many,
-- and a range of primary keys replaces an index and its writes. (Foreign keys would bring those indexes back.)

CREATE TABLE message (
  number          INTEGER PRIMARY KEY,  -- the queue id as a number: Crockford's base 32, sorts by time of creation
  id              TEXT NOT NULL,        -- the queue id as people see it
  sender          TEXT NOT NULL,        -- reverse path; '' is the null path
  submitter       TEXT NOT NULL,        -- who handed it in: the unit of fairness
  listener        TEXT NOT NULL,
  client_address  TEXT,
  ehlo_name       TEXT,
  user_name       TEXT,
  submission_tls  TEXT,
  return_content  TEXT,                 -- RET, RFC 3461 section 4.3
  envelope_id     TEXT,                 -- ENVID, RFC 3461 section 4.4
  eight_bit       INTEGER NOT NULL,
  utf8_headers    INTEGER NOT NULL,
  message_id      TEXT,
  received_at     INTEGER NOT NULL,
  expires_at      INTEGER NOT NULL,
  size            INTEGER NOT NULL,     -- octets of the stored body
  chunked_body    INTEGER,              -- body_chunk.body of a large body; NULL: the body is one row of table body
  first_entry     INTEGER NOT NULL,
  entries         INTEGER NOT NULL,
  first_recipient INTEGER NOT NULL,
  recipients      INTEGER NOT NULL
) STRICT;
CREATE INDEX message_chunked_body ON message (chunked_body) WHERE chunked_body IS NOT NULL;

-- Small bodies. A body goes with its message's last settlement.
CREATE TABLE body (
  message INTEGER PRIMARY KEY,
  octets  BLOB NOT NULL
) STRICT;

-- Large bodies. Chunks are written before their message exists; what no live message names is swept away.
CREATE TABLE body_chunk (
  body   INTEGER NOT NULL,
  seq    INTEGER NOT NULL,
  octets BLOB NOT NULL,
  PRIMARY KEY (body, seq)
) STRICT;

CREATE TABLE recipient (
  id                 INTEGER PRIMARY KEY,
  message            INTEGER NOT NULL,
  entry              INTEGER NOT NULL,
  address            TEXT NOT NULL,
  next_hop           TEXT NOT NULL,
  notify             INTEGER,           -- NOTIFY, RFC 3461 section 4.1: 1 never, 2 success, 4 failure, 8 delay; NULL: absent
  original_recipient TEXT,              -- ORCPT, RFC 3461 section 4.2
  state              TEXT NOT NULL,     -- waiting, delivered, failed, expired, dropped; final ones never change
  settled_at         INTEGER,
  outcome            TEXT               -- JSON: host and reply of a delivery, or the problem
) STRICT;

-- What still has to be tried: a message at one next hop. An entry that is finished is gone; its recipients stay.
CREATE TABLE entry (
  id              INTEGER PRIMARY KEY,
  message         INTEGER NOT NULL,
  next_hop        TEXT NOT NULL,
  submitter       TEXT NOT NULL,
  first_recipient INTEGER NOT NULL,
  recipients      INTEGER NOT NULL,
  waiting         INTEGER NOT NULL,     -- how many of them are not settled
  first_sibling   INTEGER NOT NULL,     -- the message's entries
  siblings        INTEGER NOT NULL,
  chunked_body    INTEGER,
  received_at     INTEGER NOT NULL,
  expires_at      INTEGER NOT NULL,
  attempts        INTEGER NOT NULL,     -- the one under way included
  generation      INTEGER NOT NULL,     -- counts the leases: a settlement with an old one changes nothing
  due_at          INTEGER,              -- next try; NULL while leased
  lease_until     INTEGER,
  problem_type    TEXT,
  problem         TEXT                  -- JSON: the last reason
) STRICT;
-- Only waiting entries are indexed, so mail that is delivered at its first attempt touches none of these.
CREATE INDEX entry_turn ON entry (next_hop, submitter, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX entry_next_hop ON entry (next_hop, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX entry_due ON entry (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE attempt (
  id           INTEGER PRIMARY KEY,
  entry        INTEGER NOT NULL,
  number       INTEGER NOT NULL,
  started_at   INTEGER NOT NULL,
  ended_at     INTEGER NOT NULL,
  problem_type TEXT,
  record       TEXT NOT NULL            -- JSON: the hosts met, with their evidence
) STRICT;
CREATE INDEX attempt_entry ON attempt (entry);

CREATE TABLE user (
  name          TEXT PRIMARY KEY,
  password_hash TEXT NOT NULL,
  may_send_as   TEXT NOT NULL,          -- JSON array
  created_at    INTEGER NOT NULL
) STRICT;

CREATE TABLE audit (
  id     INTEGER PRIMARY KEY AUTOINCREMENT,
  at     INTEGER NOT NULL,
  who    TEXT NOT NULL,
  action TEXT NOT NULL,
  detail TEXT                           -- JSON
) STRICT;

CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) STRICT;

-- Views for people. They are part of the documented interface; the tables are not.

-- One line for each message and next hop still in the queue.
CREATE VIEW queue_entries AS
SELECT m.id AS queue_id,
       CASE WHEN e.due_at IS NULL THEN 'active' ELSE 'waiting' END AS state,
       CASE m.sender WHEN '' THEN '<>' ELSE m.sender END AS sender,
       (SELECT group_concat(r.address, ', ') FROM recipient r
         WHERE r.id >= e.first_recipient AND r.id < e.first_recipient + e.recipients AND r.state = 'waiting') AS recipients,
       e.next_hop,
       m.size,
       e.submitter,
       datetime(m.received_at / 1000, 'unixepoch') AS received_utc,
       e.attempts,
       datetime(e.due_at / 1000, 'unixepoch') AS next_attempt_utc,
       datetime(e.expires_at / 1000, 'unixepoch') AS expires_utc,
       e.problem_type AS reason,
       e.problem ->> '$.detail' AS detail,
       e.problem ->> '$.whoActs' AS who_acts
  FROM entry e JOIN message m ON m.number = e.message;

-- One line for each recipient, also of finished messages.
CREATE VIEW recipients_readable AS
SELECT m.id AS queue_id,
       CASE m.sender WHEN '' THEN '<>' ELSE m.sender END AS sender,
       r.address AS recipient,
       r.next_hop,
       r.state,
       datetime(m.received_at / 1000, 'unixepoch') AS received_utc,
       datetime(r.settled_at / 1000, 'unixepoch') AS settled_utc,
       r.outcome ->> '$.host' AS host,
       coalesce(r.outcome ->> '$.type', '') AS reason,
       coalesce(r.outcome ->> '$.detail', (r.outcome ->> '$.reply.code') || ' ' || (r.outcome ->> '$.reply.lines[0]')) AS detail
  FROM message m JOIN recipient r ON r.id >= m.first_recipient AND r.id < m.first_recipient + m.recipients;

-- One line for each attempt at a message and next hop.
CREATE VIEW attempts_readable AS
SELECT m.id AS queue_id,
       (SELECT r.next_hop FROM recipient r
         WHERE r.id >= m.first_recipient AND r.id < m.first_recipient + m.recipients AND r.entry = a.entry LIMIT 1) AS next_hop,
       a.number AS attempt,
       datetime(a.started_at / 1000, 'unixepoch') AS started_utc,
       a.ended_at - a.started_at AS milliseconds,
       a.record ->> '$.demanded' AS demanded,
       coalesce(a.problem_type, 'delivered') AS result,
       a.record ->> '$.problem.detail' AS detail,
       (SELECT group_concat((h.value ->> '$.host') || ' (' || (h.value ->> '$.step') || ')', ', ')
          FROM json_each(a.record, '$.hosts') h) AS hosts
  FROM message m JOIN attempt a ON a.entry >= m.first_entry AND a.entry < m.first_entry + m.entries;
