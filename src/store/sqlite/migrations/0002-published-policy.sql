-- What receiving domains publish, as far as it must outlive a restart, and what the sender asked of TLS.

ALTER TABLE message ADD COLUMN tls_tag TEXT; -- RFC 8689: required (MAIL with REQUIRETLS), optional (TLS-Required: No); NULL: neither

-- MTA-STS policies (RFC 8461), by policy domain. The text is as it was served, and parsed again when it is read.
CREATE TABLE sts_policy (
  domain      TEXT PRIMARY KEY,
  policy_id   TEXT,              -- id of the TXT record that led to the fetch; these four are NULL where no policy is kept
  policy_text TEXT,
  fetched_at  INTEGER,
  expires_at  INTEGER,
  failed_id   TEXT,              -- the latest fetch failed; these four are NULL where it did not
  failed_at   INTEGER,
  failures    INTEGER,           -- in a row
  failure     TEXT,              -- JSON: type, detail, whoActs
  last_used   INTEGER NOT NULL   -- when mail last asked for it
) STRICT;

-- Next hops that were met with secure TLSA records (RFC 7672).
CREATE TABLE dane_next_hop (
  next_hop TEXT PRIMARY KEY,
  seen_at  INTEGER NOT NULL
) STRICT;

-- Views for people, as before; new columns stand at the end.

DROP VIEW queue_entries;
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
       e.problem ->> '$.whoActs' AS who_acts,
       m.tls_tag
  FROM entry e JOIN message m ON m.number = e.message;

DROP VIEW recipients_readable;
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
       coalesce(r.outcome ->> '$.detail', (r.outcome ->> '$.reply.code') || ' ' || (r.outcome ->> '$.reply.lines[0]')) AS detail,
       m.tls_tag
  FROM message m JOIN recipient r ON r.id >= m.first_recipient AND r.id < m.first_recipient + m.recipients;

-- One line for each policy domain. `mode` is the first word of the mode field, `policy` the text on one line. A stranger
-- wrote both: they are cut, and escape characters, which a terminal would obey, are taken out.
CREATE VIEW sts_policies_readable AS
SELECT domain AS policy_domain,
       policy_id,
       substr(rtrim(ltrim(substr(mode_on, 1, instr(mode_on || char(10), char(10)) - 1), ' ' || char(9)), ' ' || char(9) || char(13)), 1, 20)
         AS mode,
       datetime(fetched_at / 1000, 'unixepoch') AS fetched_utc,
       datetime(expires_at / 1000, 'unixepoch') AS expires_utc,
       datetime(last_used / 1000, 'unixepoch') AS last_used_utc,
       failures,
       datetime(failed_at / 1000, 'unixepoch') AS failed_utc,
       failed_id,
       failure ->> '$.type' AS reason,
       failure ->> '$.detail' AS detail,
       substr(replace(replace(plain, char(13), ''), char(10), ' | '), 1, 2000) AS policy
  FROM (SELECT *, CASE instr(char(10) || plain, char(10) || 'mode:') WHEN 0 THEN NULL
                    ELSE substr(plain, instr(char(10) || plain, char(10) || 'mode:') + 5) END AS mode_on
          FROM (SELECT *, replace(replace(replace(policy_text, char(27), '?'), char(155), '?'), char(7), '?') AS plain FROM sts_policy));

CREATE VIEW dane_next_hops_readable AS
SELECT next_hop, datetime(seen_at / 1000, 'unixepoch') AS seen_utc FROM dane_next_hop;
