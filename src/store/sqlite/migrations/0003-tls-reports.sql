-- TLS reports (RFC 8460): what was counted and what became of each report. And DKIM: whose signature a message gets, the keys.

ALTER TABLE message ADD COLUMN signing_domain TEXT; -- d= of the signature it gets when it is sent; NULL: none of ours
ALTER TABLE message ADD COLUMN body_hash TEXT;      -- bh= of it: SHA-256 of the body in simple canonicalization, base64

-- Sessions by UTC day, report domain and policy, added to with each settlement. The policy is JSON with its members in one order,
-- so equal policies are equal texts. It stands last, since it may be long and is seldom read.
CREATE TABLE tls_count (
  id        INTEGER PRIMARY KEY,
  day       TEXT NOT NULL,              -- 2026-11-24
  domain    TEXT NOT NULL,              -- whose _smtp._tls record says where reports go
  successes INTEGER NOT NULL,
  failures  INTEGER NOT NULL,
  details   INTEGER NOT NULL,           -- how many kinds of failures there are in tls_failure
  policy    TEXT NOT NULL               -- JSON: type, domain, text, mxHost
) STRICT;
CREATE UNIQUE INDEX tls_count_policy ON tls_count (day, domain, policy);

-- Failed sessions of a policy on a day, by everything that tells one kind of failure from another.
CREATE TABLE tls_failure (
  count    INTEGER NOT NULL,            -- tls_count.id
  detail   TEXT NOT NULL,               -- JSON: resultType, then what is known of the rest
  sessions INTEGER NOT NULL,
  PRIMARY KEY (count, detail)
) STRICT, WITHOUT ROWID;

CREATE TABLE tls_report (
  number        INTEGER PRIMARY KEY,
  day           TEXT NOT NULL,
  domain        TEXT NOT NULL,
  id            TEXT NOT NULL,          -- report-id, the same through all tries
  state         TEXT NOT NULL,          -- due, sending, sent, not-asked, failed
  created_at    INTEGER NOT NULL,
  due_at        INTEGER NOT NULL,
  give_up_at    INTEGER NOT NULL,
  attempts      INTEGER NOT NULL,       -- the one under way included
  generation    INTEGER NOT NULL,       -- counts the claims: whoever has an old one changes nothing
  claimed_until INTEGER,                -- NULL: nobody is at it
  destinations  TEXT NOT NULL,          -- JSON: what became of each rua URI
  detail        TEXT,
  ended_at      INTEGER,
  document      TEXT                    -- as sent, once it was built
) STRICT;
CREATE UNIQUE INDEX tls_report_day ON tls_report (day DESC, domain);
CREATE INDEX tls_report_domain ON tls_report (domain, day DESC);
CREATE INDEX tls_report_state ON tls_report (state, day DESC, domain);
CREATE INDEX tls_report_due ON tls_report (due_at) WHERE state IN ('due', 'sending') AND claimed_until IS NULL;
CREATE INDEX tls_report_claimed ON tls_report (claimed_until) WHERE claimed_until IS NOT NULL;
CREATE INDEX tls_report_ended ON tls_report (ended_at) WHERE ended_at IS NOT NULL;

-- How often a destination of reports has refused for good.
CREATE TABLE tls_rua (
  uri              TEXT PRIMARY KEY,
  refusals         INTEGER NOT NULL,    -- in a row
  refused_at       INTEGER NOT NULL,
  suppressed_until INTEGER
) STRICT;

-- DKIM keys (RFC 6376). The private ones are the reason why this file is its owner's alone; no view shows them.
CREATE TABLE dkim_key (
  domain      TEXT NOT NULL,
  selector    TEXT NOT NULL,
  algorithm   TEXT NOT NULL,            -- rsa-sha256, ed25519-sha256
  private_key TEXT NOT NULL,            -- PKCS#8, PEM
  public_key  TEXT NOT NULL,            -- p= of the record
  state       TEXT NOT NULL,            -- waiting-for-dns, active, retiring
  created_at  INTEGER NOT NULL,
  changed_at  INTEGER NOT NULL,         -- when the state became what it is
  checked_at  INTEGER,                  -- the last look at DNS
  problem     TEXT,                     -- what was wrong then
  PRIMARY KEY (domain, selector)
) STRICT;

-- Views for people, as before. Strangers wrote the policies: they are shown as JSON, where line ends and escape characters are
-- spelled out, and cut.

-- One line for each day, report domain and policy.
CREATE VIEW tls_days AS
SELECT day,
       domain AS report_domain,
       policy ->> '$.type' AS policy_type,
       policy ->> '$.domain' AS policy_domain,
       successes,
       failures,
       (SELECT group_concat(type || ' ' || sessions, ', ')
          FROM (SELECT detail ->> '$.resultType' AS type, sum(sessions) AS sessions FROM tls_failure WHERE count = tls_count.id
                 GROUP BY type ORDER BY sum(sessions) DESC, type)) AS reasons,
       substr(replace(policy ->> '$.text', char(155), '?'), 1, 2000) AS policy
  FROM tls_count;

-- One line for each kind of failure.
CREATE VIEW tls_failures_readable AS
SELECT c.day,
       c.domain AS report_domain,
       c.policy ->> '$.type' AS policy_type,
       c.policy ->> '$.domain' AS policy_domain,
       f.detail ->> '$.resultType' AS reason,
       f.detail ->> '$.reasonCode' AS reason_code,
       f.sessions,
       f.detail ->> '$.receivingMxHostname' AS receiving_mx,
       f.detail ->> '$.receivingMxHelo' AS receiving_helo,
       f.detail ->> '$.receivingIp' AS receiving_ip,
       f.detail ->> '$.sendingMtaIp' AS sending_ip
  FROM tls_count c JOIN tls_failure f ON f.count = c.id;

-- One line for each report.
CREATE VIEW tls_reports_readable AS
SELECT day,
       domain AS report_domain,
       id AS report_id,
       CASE WHEN claimed_until IS NULL THEN state ELSE 'active' END AS state,
       attempts,
       CASE WHEN state IN ('due', 'sending') THEN datetime(due_at / 1000, 'unixepoch') END AS due_utc,
       datetime(give_up_at / 1000, 'unixepoch') AS give_up_utc,
       datetime(ended_at / 1000, 'unixepoch') AS ended_utc,
       detail,
       (SELECT group_concat((d.value ->> '$.uri') || ' (' || (d.value ->> '$.state') || coalesce(': ' || (d.value ->> '$.detail'), '') || ')', ', ')
          FROM json_each(tls_report.destinations) d) AS destinations,
       length(CAST(document AS BLOB)) AS document_octets
  FROM tls_report;

-- One line for each DKIM key.
CREATE VIEW dkim_keys_readable AS
SELECT domain,
       selector,
       algorithm,
       state,
       datetime(created_at / 1000, 'unixepoch') AS created_utc,
       datetime(changed_at / 1000, 'unixepoch') AS changed_utc,
       datetime(checked_at / 1000, 'unixepoch') AS checked_utc,
       problem,
       public_key
  FROM dkim_key;
