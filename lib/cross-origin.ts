/** What the cross-origin check looks at. Header values as received; undefined when absent. */
export interface OriginFacts {
  readonly method: string
  readonly secFetchSite: string | undefined
  readonly origin: string | undefined
  readonly host: string | undefined
}

/** Which origins may send unsafe requests with a cookie. */
export interface OriginPolicy {
  /** The issuer's origin and `allowedOrigins`, each as `URL.origin` spells it. */
  readonly allowed: ReadonlySet<string>
  /** Whether a request that says nothing of its origin is refused. */
  readonly requireOrigin: boolean
  /** Whether the cookies need https: a page of the same host by plain http is then a stranger. */
  readonly secure?: boolean
}

const SAFE_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS'])

/**
 * Whether a request that carries a cookie may act: its method is safe, or it comes from one of our
 * own pages. The listed origins first, then fetch metadata, then `Origin` against `Host`. SameSite alone does not do: it is per site, so a
 * sibling subdomain passes it.
 *
 * @remarks OWASP ASVS 5.0 3.5.1 to 3.5.3, OWASP CSRF Prevention (Fetch Metadata).
 */
export function isOwnOrigin(facts: OriginFacts, policy: OriginPolicy): boolean {
  if (SAFE_METHODS.has(facts.method)) return true
  if (facts.origin !== undefined && policy.allowed.has(facts.origin)) return true
  // Only a browser sends this header, and no page can forge it.
  if (facts.secFetchSite !== undefined) {
    return facts.secFetchSite === 'same-origin' || facts.secFetchSite === 'none'
  }
  if (facts.origin !== undefined) {
    return hostOf(facts.origin, policy.secure === true) === facts.host?.toLowerCase()
  }
  return !policy.requireOrigin
}

function hostOf(origin: string, secure: boolean): string | null {
  if (!URL.canParse(origin)) return null
  const { protocol, host } = new URL(origin)
  return protocol === 'https:' || (protocol === 'http:' && !secure) ? host : null
}
