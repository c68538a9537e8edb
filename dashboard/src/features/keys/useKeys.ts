import { useMutation, useQueryClient, type UseMutationResult } from '@tanstack/react-query'

import { apiKeysKey, makeApiKey, revokeApiKey } from '../../api/queries'
import { useServices } from '../../api/services'
import type { NewApiKey } from '../../api/types'
import type { KeyWish } from './keys'

/** Make a key. Its text is in the answer only, which is not cached. */
export function useMakeKey(): UseMutationResult<NewApiKey, Error, KeyWish> {
  const { api } = useServices()
  const client = useQueryClient()
  return useMutation({
    mutationFn: ({ name, scopes, username, days }: KeyWish) =>
      makeApiKey(api, { name, scopes, expires_in_days: days, ...(username !== '' && { username }) }),
    // Also after an error: the key may have been made.
    onSettled: () => client.invalidateQueries({ queryKey: apiKeysKey }),
    gcTime: 0,
  })
}

/** Revoke a key; tokens made of it end within seconds. */
export function useRevokeKey(keyId: string): UseMutationResult<undefined, Error, undefined> {
  const { api } = useServices()
  const client = useQueryClient()
  return useMutation({
    mutationFn: () => revokeApiKey(api, keyId),
    onSettled: () => client.invalidateQueries({ queryKey: apiKeysKey }),
  })
}
