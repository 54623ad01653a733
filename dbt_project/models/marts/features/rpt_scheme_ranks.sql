with

final as (

    select
        client_id,
        planted_scheme,
        scored_scheme,
        cast(strength_ratio as double) as strength_ratio,
        cast(weeks_count as bigint) as weeks_count,
        cast(best_rank_count as bigint) as best_rank_count,
        cast(median_rank_count as double) as median_rank_count,
        cast(best_rank_ratio as double) as best_rank_ratio,
        cast(best_score as double) as best_score,
        cast(most_fired_count as bigint) as most_fired_count,
        cast(is_own as boolean) as is_own,
        cast(is_top_scheme as boolean) as is_top_scheme
    from {{ source('evaluation', 'scheme_ranks') }}

)

select * from final
