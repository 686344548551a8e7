/** By which the issuer of revocation-delay.ts knows the service that listens to it. */
export const CREDENTIAL = 'Basic YmVuY2g6YmVuY2g='
