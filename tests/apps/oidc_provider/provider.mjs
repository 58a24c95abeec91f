// The certified npm oidc-provider, as it comes, with three users and its own pages to sign in at.
//
//   node provider.mjs FOLDER-WITH-NODE_MODULES SETTINGS.json
//
// The settings name issuer, port, clients and lives. GET /counts tells how often which grant was used.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, file] = process.argv.slice(2);
const require = createRequire(join(folder, "package.json"));
const { default: Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));
const settings = JSON.parse(readFileSync(file, "utf8"));

const users = {
  ada: { name: "Ada Lovelace", email: "ada@example.com", roles: ["staff"] },
  bob: { name: "Bob", email: "bob@example.com", roles: [] },
};

const provider = new Provider(settings.issuer, {
  clients: settings.clients,
  cookies: { keys: ["only for tests"] },
  claims: { openid: ["sub"], profile: ["name", "roles"], email: ["email"] },
  findAccount: (ctx, id) => users[id] && { accountId: id, claims: () => ({ sub: id, ...users[id] }) },
  features: {
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    devInteractions: { enabled: true },
  },
  issueRefreshToken: async (ctx, client) => client.grantTypeAllowed("refresh_token"),
  // Whoever signs in has agreed: one page fewer.
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client.clientId,
      accountId: ctx.oidc.session.accountId,
    });
    grant.addOIDCScope("openid profile email offline_access");
    await grant.save();
    return grant;
  },
  rotateRefreshToken: true,
  // Its own refuses addresses of this machine, where the gateways are.
  fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
  ttl: { AccessToken: settings.access_s, IdToken: 3600, RefreshToken: 3600, Session: 3600, Grant: 3600, Interaction: 600 },
});

const counts = {};
provider.on("grant.success", (ctx) => {
  const kind = ctx.oidc.params.grant_type;
  counts[kind] = (counts[kind] ?? 0) + 1;
});
provider.on("server_error", (ctx, error) => console.error("server_error", error));
provider.on("backchannel.error", (ctx, error, client) => console.error("backchannel.error", client.clientId, error.message, error.cause));
provider.on("backchannel.success", (ctx, client) => console.error("backchannel.success", client.clientId));
provider.use(async (ctx, next) => {
  if (ctx.path === "/counts") ctx.body = counts;
  else await next();
});
provider.listen(settings.port, "127.0.0.1", () => console.error("listening"));
