CREATE TABLE answers (
  key      text    primary key, -- SHA-256 of the actor and the key
  request  text    not null, -- SHA-256 of the call: the same key with another is refused
  at       integer not null,
  status   integer not null default 0, -- 0: under way
  location text    not null default '',
  body     text    not null default ''
);

CREATE INDEX answers_by_time on answers (at);

CREATE TABLE attempts (
  id            integer primary key,
  invitation_id integer references invitations (id),
  event_id      integer references events (id), -- of a look-up, which has no invitation yet
  kind          text    not null, -- invite, look, attributes, customer
  started_at    integer not null,
  duration_ms   integer not null,
  transport     text    not null default '',
  status        integer not null default 0, -- HTTP, 0 when no answer came
  outcome       text    not null,
  message       text    not null default '',
  retool_id     integer
);

CREATE INDEX attempts_by_event on attempts (event_id, id) where event_id is not null;

CREATE INDEX attempts_by_invitation on attempts (invitation_id, id);

CREATE TABLE audit (
  id            integer primary key,
  at            integer not null,
  actor         text    not null, -- who: admin_token, token NAME, command line
  what          text    not null, -- invite, approve, retry, revoke, correct, replay, token made, token revoked, test event, import
  invitation_id integer references invitations (id),
  subject       text    not null default '', -- what else it was about, such as "delivery 7"
  before        text    not null default '',
  after         text    not null default ''
);

CREATE INDEX audit_by_invitation on audit (invitation_id, id) where invitation_id is not null;

CREATE TABLE decisions (
  id            integer primary key,
  event_id      integer not null references events (id),
  decided_at    integer not null,
  outcome       text    not null check (outcome in ('invite', 'hold', 'skip')),
  reason        text    not null,
  sentence      text    not null,
  rule          integer, -- the access rule that matched, counted from 0
  email         text    not null default '',
  invitation_id integer references invitations (id)
);

CREATE INDEX decisions_by_email on decisions (email, event_id) where email <> '';

CREATE INDEX decisions_by_event on decisions (event_id, id);

CREATE INDEX decisions_by_invitation on decisions (invitation_id, id) where invitation_id is not null;

CREATE INDEX decisions_by_outcome on decisions (outcome, event_id);

CREATE INDEX decisions_by_reason on decisions (reason, event_id);

CREATE TABLE deliveries (
  id          integer primary key,
  source      text    not null,
  received_at integer not null,
  verified_by text    not null, -- which secret matched, by its place in the configuration
  request     text    not null, -- the few request headers worth keeping, as a JSON object
  body        blob              -- the bytes that were signed
);

CREATE TABLE events (
  id          integer primary key,
  delivery_id integer references deliveries (id), -- null: asked for by hand
  source      text    not null,
  event_id    text    not null,
  type        text    not null,
  occurred_at integer, -- by the sender's clock, null when it did not say
  recorded_at integer not null,
  details     text    not null, fingerprint text not null default '', body_key text, reuses_id_of integer references events (id), -- the normalised event, JSON
  unique (source, event_id)
);

CREATE UNIQUE INDEX events_by_body_key on events (source, body_key) where body_key is not null;

CREATE INDEX events_by_delivery on events (delivery_id) where delivery_id is not null;

CREATE INDEX events_by_reuse on events (reuses_id_of, id) where reuses_id_of is not null;

CREATE INDEX events_by_reuse_saying on events (reuses_id_of, fingerprint) where reuses_id_of is not null;

CREATE INDEX events_by_source on events (source, id);

CREATE INDEX events_by_type on events (type, id);

CREATE TABLE import_lists (
  import_id text primary key references imports (id),
  list      text not null
);

CREATE TABLE import_rows (
  import_id     text    not null references imports (id),
  place         integer not null, -- in the list, counted from 0
  line          integer not null, -- of the text that it was read from
  event_id      integer not null, -- without a reference: retention may remove a skipped one
  invitation_id integer references invitations (id), -- null: nobody is invited
  primary key (import_id, place)
) without rowid;

CREATE TABLE imports (
  id         text    primary key,
  at         integer not null,
  actor      text    not null,
  total      integer not null,
  recorded   integer not null default 0, -- how many of its people are
  started_at integer -- null: a draft, which nobody has sent
);

CREATE TABLE invitations (
  id              integer primary key,
  email           text    not null unique,
  state           text    not null check (state in ('held', 'queued', 'sent', 'accepted', 'expired', 'revoked', 'failed')),
  reason          text    not null default '', -- why it is in this state, for people
  groups          text    not null default '[]', -- wanted
  attributes      text    not null default '{}', -- wanted
  sent_groups     text    not null default '[]', -- what Retool was told
  sent_attributes text    not null default '{}',
  note            text    not null default '',
  source          text    not null, -- of the first event that asked for it
  tries           integer not null default 0, -- counted attempts of this run; a 429 is not counted
  run             integer not null default 0, -- raised each time it is queued: a job of an older run does nothing
  next_try_at     integer,
  sending_since   integer, -- a call to Retool is under way
  unsure          integer not null default 0, -- a call may have been carried out: look before sending again
  retool_id       integer,
  expires_at      integer,
  created_at      integer not null,
  updated_at      integer not null,
  sent_at         integer
, corrected_to integer references invitations (id), resend integer not null default 0, resent integer not null default 0, accepted_at integer);

CREATE INDEX invitations_by_domain on invitations (substr(email, instr(email, '@') + 1), id);

CREATE INDEX invitations_by_source on invitations (source, id);

CREATE INDEX invitations_by_source_and_state on invitations (source, state, id);

CREATE INDEX invitations_by_state on invitations (state, id);

CREATE INDEX invitations_due on invitations (coalesce(next_try_at, updated_at)) where state = 'queued';

CREATE INDEX invitations_expiring on invitations (expires_at) where state = 'sent';

CREATE TABLE kept_bodies (
  delivery_id integer primary key references deliveries (id)
);

CREATE TABLE pace (
  id             integer primary key check (id = 1),
  next_at        integer not null default 0, -- no slot before this: the budget
  not_before     integer not null default 0, -- no slot before this: Retool asked us to wait, or sending is stopped
  stopped_reason text    not null default '', -- not empty: only a probe is sent each time not_before passes
  stopped_at     integer,
  worked_at      integer, -- when Retool last took a call
  proofs         integer not null default 0  -- raised to prove that a commit reaches the disk
);

CREATE TABLE resends (
  event_id    integer not null references events (id),
  delivery_id integer not null references deliveries (id),
  received_at integer not null,
  same_body   integer not null,
  primary key (event_id, delivery_id)
) without rowid;

CREATE INDEX resends_by_delivery on resends (delivery_id);

CREATE TABLE sessions (
  id         text    primary key, -- SHA-256 of what the cookie holds
  actor      text    not null,
  credential text    not null, -- SHA-256 of the token that signed in: with it the session ends
  created_at integer not null,
  expires_at integer not null,
  link       integer not null default 0 -- a link that signs in once, not a session yet
);

CREATE TABLE source_secrets (
  source      text    primary key,
  fingerprint text    not null, -- 16 bits of a slow hash: tells a change, gives nothing away
  since       integer not null, -- when they were first seen
  changed_at  integer -- null: not since then
);

CREATE TABLE this_ledger (
  id       integer primary key check (id = 1),
  identity text    not null,
  copied   text    not null default '' -- what came from another store and how it was then, JSON; empty: nothing came
);

CREATE TABLE tokens (
  name       text    primary key,
  hash       text    not null unique, -- SHA-256 in hex: a token is too long to be guessed
  role       text    not null check (role in ('read', 'invite', 'admin')),
  created_at integer not null,
  created_by text    not null,
  expires_at integer,
  revoked_at integer
);

CREATE TABLE undecided (
  delivery_id  integer primary key references deliveries (id),
  tries        integer not null default 0,
  set_aside_at integer, -- a poison delivery, alone, after its tries
  error        text    not null default ''
);

CREATE INDEX undecided_set_aside on undecided (delivery_id) where set_aside_at is not null;

CREATE INDEX undecided_tried on undecided (tries, delivery_id) where tries > 0 and set_aside_at is null;

CREATE TABLE upkeep (
  kind    text    primary key, -- bodies, events
  reached integer not null
);

CREATE VIEW usher_events as
select e.id, e.delivery_id, e.source, e.event_id as sender_id, e.type,
  strftime('%Y-%m-%dT%H:%M:%fZ', e.occurred_at / 1000.0, 'unixepoch') as occurred_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', e.recorded_at / 1000.0, 'unixepoch') as recorded_at,
  d.email, d.outcome, d.reason, d.sentence, d.rule,
  strftime('%Y-%m-%dT%H:%M:%fZ', d.decided_at / 1000.0, 'unixepoch') as decided_at,
  d.invitation_id, e.details
from events e left join decisions d on d.id = (select max(id) from decisions where event_id = e.id);

CREATE VIEW usher_invitations as
select i.id, i.email, i.state, i.reason, i.source, i.groups, i.attributes, i.note, i.tries,
  strftime('%Y-%m-%dT%H:%M:%fZ', i.next_try_at / 1000.0, 'unixepoch') as next_try_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', i.sent_at / 1000.0, 'unixepoch') as sent_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', i.accepted_at / 1000.0, 'unixepoch') as accepted_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', i.expires_at / 1000.0, 'unixepoch') as expires_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', i.created_at / 1000.0, 'unixepoch') as created_at,
  strftime('%Y-%m-%dT%H:%M:%fZ', i.updated_at / 1000.0, 'unixepoch') as updated_at,
  i.retool_id as retool_invite_id, i.corrected_to
from invitations i;

CREATE TABLE usher_schema (
		id INTEGER PRIMARY KEY AUTOINCREMENT,
		version_id INTEGER NOT NULL,
		is_applied INTEGER NOT NULL,
		tstamp TIMESTAMP DEFAULT (datetime('now'))
	);

