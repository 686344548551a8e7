/** What the service behind is called in the tokens it takes: `aud`. */
export const ORDERS = 'https://orders.internal'
