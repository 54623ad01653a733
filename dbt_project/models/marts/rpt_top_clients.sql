with

latest as (

    select max(as_of_date) as as_of_date from {{ ref('fct_client_scores') }}

),

final as (

    select
        scores.client_id,
        scores.band,
        clients.industry,
        clients.geography,
        reasons.pillar as main_pillar,
        reasons.reason_text as main_reason,
        scores.bcrs_score,
        scores.rank_in_week_count,
        scores.is_alert,
        scores.as_of_date
    from {{ ref('fct_client_scores') }} as scores
    inner join latest on scores.as_of_date = latest.as_of_date
    left join {{ ref('dim_clients') }} as clients on scores.client_id = clients.client_id
    left join {{ source('scores', 'alert_reasons') }} as reasons
        on scores.client_id = reasons.client_id and scores.as_of_date = reasons.as_of_date
        and reasons.reason_rank = 1
    where scores.rank_in_week_count <= {{ var('top_clients') }}
    order by scores.rank_in_week_count, scores.client_id

)

select * from final
