/** By which the nodes of a bench know the service that listens to them. */
export const SERVICE_CREDENTIAL = 'Basic YmVuY2g6YmVuY2g='
