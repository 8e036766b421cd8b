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
);

CREATE INDEX invitations_by_source on invitations (source, id);

CREATE INDEX invitations_by_source_and_state on invitations (source, state, id);

CREATE INDEX invitations_by_state on invitations (state, id);

CREATE INDEX invitations_due on invitations (coalesce(next_try_at, updated_at)) where state = 'queued';

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

CREATE TABLE this_ledger (
  id       integer primary key check (id = 1),
  identity text    not null,
  copied   text    not null default '' -- what came from another store and how it was then, JSON; empty: nothing came
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

CREATE TABLE usher_schema (
		id INTEGER PRIMARY KEY AUTOINCREMENT,
		version_id INTEGER NOT NULL,
		is_applied INTEGER NOT NULL,
		tstamp TIMESTAMP DEFAULT (datetime('now'))
	);

