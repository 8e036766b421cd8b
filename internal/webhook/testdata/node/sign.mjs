// Signs with the senders' own libraries: a JSON list of {library, secret, id, at, method, url, body} on stdin, and
// on stdout a list of the headers that each library makes of its entry. at is in milliseconds since 1970.
import { readFileSync } from "node:fs";
import hubspot from "@hubspot/api-client/lib/src/utils/signature.js";
import { sign as octokit } from "@octokit/webhooks-methods";
import Stripe from "stripe";
import { Webhook } from "svix";

const hubspotSignature = (version, r) =>
  hubspot.Signature.getSignature(r.method, version, { clientSecret: r.secret, url: r.url, requestBody: r.body, timestamp: r.at });

const libraries = {
  stripe: (r) => ({
    "Stripe-Signature": Stripe.webhooks.generateTestHeaderString({ payload: r.body, secret: r.secret, timestamp: Math.floor(r.at / 1000) }),
  }),
  svix: (r) => ({
    "svix-id": r.id,
    "svix-timestamp": String(Math.floor(r.at / 1000)),
    "svix-signature": new Webhook(r.secret).sign(r.id, new Date(r.at), r.body),
  }),
  hubspot: (r) => ({ "X-HubSpot-Signature-v3": hubspotSignature("v3", r), "X-HubSpot-Request-Timestamp": String(r.at) }),
  "hubspot-v2": (r) => ({ "X-HubSpot-Signature": hubspotSignature("v2", r), "X-HubSpot-Signature-Version": "v2" }),
  "hubspot-v1": (r) => ({ "X-HubSpot-Signature": hubspotSignature("v1", r), "X-HubSpot-Signature-Version": "v1" }),
  octokit: async (r) => ({ "X-Hub-Signature-256": await octokit(r.secret, r.body) }),
};

const wanted = JSON.parse(readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(await Promise.all(wanted.map((r) => libraries[r.library](r)))));
